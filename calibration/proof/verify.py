"""Predict a model on this machine, then run and measure it: is the profile still true?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from calibration.errors import CalibrationError
from calibration.measuring.machine import Target, target_of
from calibration.measuring.pace import WORK, Followed, follow
from calibration.measuring.running import energy_of, passes
from calibration.measuring.stopwatch import stopwatch_of
from calibration.measuring.timing import Run
from calibration.networks.random_networks import Network, with_data
from estimator.base.errors import FOREIGN_ERRORS
from estimator.energy.pricing import price
from estimator.energy.uncertainty import Interval
from estimator.footprint import as_loaded, workload_of
from estimator.hardware.calibrated import base_of
from estimator.hardware.profile import HardwareProfile
from estimator.hardware.selection import choose
from estimator.inputs.chosen import chosen_inputs
from estimator.lifecycle.choices import with_dtype
from estimator.lifecycle.scenario import Scenario
from estimator.sources.inputs import build_inputs
from profilers.load import LoadPolicy
from profilers.session import QUIET

Quantity = Literal["duration", "energy"]
_BY_DEFAULT = Scenario()

_WHOLE_S = 1.0
"""How long batches are timed, at least: on a shared machine, tenths of a second may be unlike the next."""

_SLOWER = 1.1
"""So many times the usual time of the reference work is worth a word."""


@dataclass(frozen=True)
class Check:
    """One prediction beside its measurement, for one batch: seconds or joules. `measured` is None without a meter."""

    phase: str
    quantity: Quantity
    unit: str
    predicted: Interval
    measured: float | None
    status: str
    scatter: float | None
    hardware: str

    @property
    def error(self) -> float | None:
        """predicted / measured - 1."""
        return None if self.measured is None else self.predicted.value / self.measured - 1

    @property
    def within(self) -> bool:
        """Whether the interval holds what was measured; True where nothing was."""
        return self.measured is None or self.predicted.low <= self.measured <= self.predicted.high


@dataclass(frozen=True)
class Verified:
    """The checks of a model, and what is to be said about them."""

    checks: tuple[Check, ...]
    calibrated: bool
    notes: tuple[str, ...] = ()

    @property
    def within(self) -> bool:
        """Whether no measurement contradicts its prediction."""
        return all(check.within for check in self.checks)


def _target(profile: HardwareProfile) -> tuple[Target, tuple[str, ...]]:
    """The device of this machine that `profile` is of, and what differs from the calibration."""
    here_on = profile.calibrated
    device = here_on.torch_device if here_on else "cuda:0" if profile.model.asynchronous else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise CalibrationError(
            f"{profile.name} is a GPU, and PyTorch sees none here: verify on the machine that has it, or name this "
            "machine's device with --hardware."
        )
    target = target_of(device)
    here = target.header.device_name
    if here_on is None:
        like = base_of(device, here).name == profile.name
        return target, () if like else (f"measured on {here}, which is not {profile.name}",)
    if here != profile.title:
        raise CalibrationError(
            f"{profile.name} was calibrated on {profile.title}, and this is {here}: verify there, or run "
            "`estimate calibrate` here."
        )
    if here_on.torch_version not in ("", torch.__version__):
        return target, (f"calibrated with torch {here_on.torch_version}, measured with {torch.__version__}",)
    return target, ()


def _checks(
    network: Network,
    predicted: tuple[Interval, Interval],
    profile: HardwareProfile,
    target: Target,
    phase: str,
    pace: Followed,
) -> list[Check]:
    device = target.header.device
    try:
        stopwatch = stopwatch_of(device)
        run = Run(with_data(network, device), stopwatch)
        batch_s = run.warm_up()
        whole = run.whole(max(passes(batch_s)[0], math.ceil(_WHOLE_S / batch_s)), pace.look)
        joules, status = energy_of(run, whole.total_s, target.meters, stopwatch)
    except FOREIGN_ERRORS as error:
        raise CalibrationError(
            f"{phase} cannot be run on {device} ({str(error)[:120]}): give a smaller --batch-size, or verify another "
            "model."
        ) from error
    seconds, energy = predicted
    return [
        Check(phase, "duration", "s", seconds, whole.total_s, "measured", whole.scatter, profile.name),
        Check(phase, "energy", "J", energy, joules, status, None, profile.name),
    ]


def slowed(phase: str, now_s: Sequence[float], usual_s: Sequence[float]) -> tuple[str, ...]:
    """What is to be said where the reference work (`calibration.measuring.pace`) takes longer than when calibrated."""
    pairs = zip(WORK, now_s, usual_s, strict=False)  # a GPU and an older profile have none
    slower = [f"{now / usual - 1:.0%} longer for {work}" for work, now, usual in pairs if now > _SLOWER * usual]
    return (f"around {phase} this machine took {' and '.join(slower)} than when calibrated",) if slower else ()


def verify(
    model: str, scenario: Scenario = _BY_DEFAULT, *, trust: bool = False, policy: LoadPolicy = QUIET
) -> Verified:
    """Predict and measure one inference batch and one training step of `model` (as `estimate.model` takes it).

    Energies are those of the device. Weights are random: speed depends on shapes. Raises `BusyError` on a busy machine.
    """
    profile, _ = choose(scenario.value_of("hardware"), scenario.settings)
    target, notes = _target(profile)
    policy = replace(policy, limit_cores=target.other_cores)
    policy.wait_until_quiet(target.meters)
    found: list[Check] = []
    for phase, size in (("inference", "inference_batch_size"), ("training", "batch_size")):
        optimizer = scenario.value_of("optimizer") if phase == "training" else None
        loaded = as_loaded(model, trust=trust)  # anew: running gives it weights
        scenario, _ = with_dtype(loaded, scenario)
        specs = chosen_inputs(loaded, scenario).specs
        batch, dtype = loaded.fixed_batch or scenario.value_of(size), scenario.value_of("dtype")
        workload = workload_of(loaded, specs, batch, scenario, training=optimizer is not None)
        estimate = price(workload, profile.model)
        args, kwargs = build_inputs(specs, batch, getattr(torch, dtype), channels_last=scenario.channels_last)
        network = Network(loaded.name, optimizer, dtype, loaded.module, tuple(args), dict(kwargs))
        watch, pace = policy.begin(target.meters, working=True), follow(target.header.device)
        found += _checks(network, (estimate.duration_s, estimate.energy_j), profile, target, phase, pace)
        notes += slowed(phase, pace.seconds(), profile.calibrated.pace_s if profile.calibrated else ())
        notes += tuple(f"{phase} was disturbed: {other}" for other in watch.load().busy)
    return Verified(tuple(found), profile.status == "calibrated", notes)
