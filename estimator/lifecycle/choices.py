"""What an answer rests on: choices that the model, the region or nobody made, each with its `Assumption`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from estimator.base.errors import HardwareError, ScenarioError
from estimator.base.facts import Assumption, AssumptionStatus
from estimator.energy.collectives import Cluster
from estimator.hardware import catalogue, links
from estimator.hardware.profile import HardwareProfile, HostShare
from estimator.lifecycle import carbon
from estimator.lifecycle.carbon import Intensity
from estimator.lifecycle.scenario import DTYPES, WHERE, Scenario
from estimator.lifecycle.spellings import dtype_of
from estimator.lifecycle.stages import Site
from estimator.sources import LoadedModel, stored
from estimator.workload.execution.settings import Autocast, Execution, Lists
from estimator.workload.loss import LOSS, LOSS_RULE
from estimator.workload.ops import Workload


def with_dtype(model: LoadedModel, scenario: Scenario) -> tuple[Scenario, Assumption | None]:
    """`scenario` with the model's own dtype, where nobody gave one, and the assumption that says so.

    It is what the model's settings name (or the nearest that is priced), else that of most parameters where it is
    narrower than float32.
    """
    if scenario.dtype is not None:
        return scenario, None
    if scenario.autocast is not None:
        master = Assumption("dtype", "float32", "", "detected", "autocast keeps weights in float32", "--dtype")
        return replace(scenario, dtype="float32"), master
    if model.dtype is not None:
        named = nearest_dtype(model.dtype)
        return replace(scenario, dtype=named), Assumption(
            "dtype", named, "", "detected", "the model's config", "--dtype"
        )
    sizes: Counter[str] = Counter()
    for parameter in model.module.parameters():
        if parameter.dtype.is_floating_point:
            sizes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    most = max(sizes, key=lambda dtype: sizes[dtype], default="float32")
    if most not in DTYPES or most == "float32":
        return scenario, None
    detected = Assumption("dtype", most, "", "detected", "the dtype of the model's parameters", "--dtype")
    return replace(scenario, dtype=most), detected


def execution_of(scenario: Scenario, *, on_gpu: bool) -> Execution:
    """How models are run in `scenario`, on a GPU or on a CPU."""
    dtype = scenario.autocast
    lists: Lists = "cuda" if on_gpu else "cpu"
    return Execution(
        autocast=None if dtype is None else Autocast(dtype, lists, scaler=dtype == "float16"),
        checkpointing=scenario.checkpointing is not None,
        accumulate=scenario.accumulate or 1,
        compiled=scenario.compile,
        graphs=on_gpu or scenario.compile is None,  # of no matter where it is eager
    )


def nearest_dtype(name: str) -> str:
    """The dtype that is priced for what a model's settings name: itself, else the nearest."""
    known = dtype_of(name)
    return known if known in DTYPES else "bfloat16" if known.startswith(("float8", "float4")) else "float32"


def chosen(model: LoadedModel, scenario: Scenario, dtype: Assumption | None, step: Workload) -> Iterator[Assumption]:
    """The scenario's assumptions, corrected by what the model itself decides."""
    for assumption in scenario.assumptions():
        if assumption.name == "dtype" and dtype is not None:
            yield dtype
        elif assumption.name in ("batch_size", "inference_batch_size") and model.fixed_batch:
            why = "no batch in the inputs" if model.no_batch else "the export has this batch size alone"
            yield Assumption(assumption.name, model.fixed_batch, "samples", "detected", why)
        else:
            yield assumption
    if step.fused:
        why = "one kernel each, as on a GPU with the library that has it (mamba_ssm, fla); without it runs take longer"
        yield Assumption("fused kernels", ", ".join(step.fused), "", "default", why)
    shown, bits = stored.told(model.module)
    if shown:
        priced = scenario.value_of("dtype")
        wide = 32 if priced == "float32" else 16
        why = f"read at {bits}/{wide} of their {priced} bytes, and their scales; products in {priced}, not trained"
        yield Assumption("weights", shown, "", "detected", why)
    yield Assumption("loss", step.loss or LOSS, "", "default", LOSS_RULE)


def _intensity(scenario: Scenario) -> tuple[Intensity, tuple[Assumption, ...]]:
    """The carbon intensity of the grid, and the assumptions that say which and whose choice it was."""
    if scenario.carbon_intensity is not None:
        intensity, flag = carbon.given(scenario.carbon_intensity), "--carbon-intensity"
    elif scenario.region is not None:
        intensity, flag = carbon.find_region(scenario.region), "--region"
    else:
        intensity, flag = carbon.world_average(), ""
    status: AssumptionStatus = "given" if flag else "default"
    edition = f"{intensity.scope}, {intensity.year or 'year unstated'}"
    grams = round(intensity.carbon_intensity_kg_per_kwh * 1000, 3)
    return intensity, (
        Assumption("region", intensity.region, "", status, flag or "nobody chose one", "--region"),
        Assumption(
            "carbon_intensity", grams, "gCO2e/kWh", status, f"{edition}; {intensity.source}", "--carbon-intensity"
        ),
    )


def site_of(scenario: Scenario, host: HostShare) -> tuple[Site, tuple[Assumption, ...]]:
    """Where it runs, and the assumptions behind the way from the device's energy to the facility's and its carbon."""
    intensity, on_carbon = _intensity(scenario)
    on_pue, on_host = _pue(scenario), _host_share(scenario, host)
    site = Site(float(on_host.value), float(on_pue.value), intensity, scenario.value_of("devices"))
    return site, (*on_carbon, on_pue, on_host)


def _pue(scenario: Scenario) -> Assumption:
    """The facility's: as given, 1 where no building is cooled for the machine, else the surveys' mean."""
    unit, where = "facility/IT energy", scenario.where or WHERE[0]
    if scenario.pue is not None:
        return Assumption("pue", scenario.pue, unit, "given", "--pue", "--pue")
    if where != WHERE[0]:
        return Assumption("pue", 1.0, unit, "given", f"--where {where}: no building is cooled for it", "--pue")
    default = carbon.default_pue()
    return Assumption("pue", default.value, unit, "default", default.source, "--pue")


def _host_share(scenario: Scenario, host: HostShare) -> Assumption:
    """What the rest of the node draws, as given or as the profile says."""
    flag, unit = "--host-share", "of device energy"
    if scenario.host_share is not None:
        return Assumption("host_share", scenario.host_share, unit, "given", flag, flag)
    return Assumption("host_share", host.value, unit, "default", host.source, flag)


def cluster_of(scenario: Scenario, profile: HardwareProfile) -> Cluster:
    """The devices that share a training, and what connects them.

    Raises `ScenarioError` for nodes that are not alike, and `HardwareError` for a link that the device has not.
    """
    devices, nodes = scenario.value_of("devices"), scenario.nodes or 1
    if scenario.devices is None and (scenario.shard or scenario.link or nodes > 1):
        raise ScenarioError("--shard, --link and --nodes are of several devices: say how many --devices there are.")
    if devices % nodes:
        raise ScenarioError(f"{devices} devices are not alike on {nodes} nodes: make --devices a multiple of --nodes.")
    kind = "gpu" if profile.model.asynchronous else "cpu"
    inside, between = links.links_of(_board(profile), kind, scenario.link)
    return Cluster(devices, nodes, inside, between)


def _board(profile: HardwareProfile) -> str:
    """The catalogue's name of what was calibrated, as far as its driver's name tells it."""
    if not profile.calibrated:
        return profile.name
    try:
        return catalogue.find(profile.title).name
    except HardwareError:
        return profile.name


def on_devices(scenario: Scenario, cluster: Cluster, batch: int, waiting: float) -> Iterator[Assumption]:
    """How the training is shared: nothing where one device does it all; `waiting`: the share of the time waited."""
    if cluster.devices < 2:
        return
    yield Assumption("batch of a device", batch, "samples", "default", "its part of --batch-size", "--batch-size")
    shard, why = scenario.shard, "gradients are averaged while the backward pass goes on (DDP)"
    yield Assumption(
        "shard", shard or "none", "", "given" if shard else "default", "--shard" if shard else why, "--shard"
    )
    named = cluster.link.name + (f", {cluster.nodes} nodes by {cluster.network.name}" if cluster.nodes > 1 else "")
    waited = f"devices wait for it {waiting:.1%} of the time; NCCL's rings, fitted on published times"
    yield Assumption("link", named, "", "given" if scenario.link else "default", waited, "--link")
