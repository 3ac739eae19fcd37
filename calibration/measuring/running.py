"""Measure one network: the whole, its ops in context, and its joules where a meter reads them."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

from calibration.measuring.pace import follow
from calibration.measuring.samples import Sample
from calibration.measuring.stopwatch import Stopwatch, stopwatch_of
from calibration.measuring.timing import Run, beside, by_parameter
from calibration.networks.random_networks import Network, drawn, with_data
from estimator.base.errors import InputError
from estimator.workload.ops import Workload
from estimator.workload.trace import TraceInputs, trace
from profilers.meter import Meter
from profilers.session import measure

MOST_FLOPS = {"cpu": 2.5e10, "cuda": 4e12}
"""No network of a calibration does more in a batch: half a second on a laptop's CPU, a tenth on a server's GPU."""

MOST_ELEMENTS = {"cpu": 4e7, "cuda": 4e8}
"""No result of a calibration has more elements."""

MOST_WEIGHTS = {"cpu": 1.1e8, "cuda": 1e9}
"""No weight has more elements: the largest of VGG has 1.03e8."""

BATCHES = {"cpu": (1,), "cuda": (1, 1, 4, 16)}
"""By what the batches of random networks are multiplied: a GPU needs large ones to be busy."""

_WHOLE_S, _ENERGY_WINDOW_S = 0.12, 1.1


def workload_of(network: Network) -> Workload:
    """The ops of a network, traced on meta tensors."""
    inputs = TraceInputs(network.args, {}, network.batch_size)
    return trace(network.module, inputs, dtype=network.dtype, optimizer=network.optimizer)


def fits(workload: Workload, device: str) -> bool:
    """Whether a network is small enough to be measured in a calibration."""
    kind = device.split(":", maxsplit=1)[0]
    largest = max((math.prod(shape) for op in workload.ops for shape in op.outputs), default=0)
    weight = max((math.prod(shape) for op in workload.ops for shape in op.inputs), default=0)
    return workload.flops <= MOST_FLOPS[kind] and largest <= MOST_ELEMENTS[kind] and weight <= MOST_WEIGHTS[kind]


def passes(batch_s: float) -> tuple[int, int]:
    """How often the whole and its ops are timed: less often where a batch takes long."""
    whole = min(60, max(3 if batch_s > 0.15 else 4, round(_WHOLE_S / batch_s)))
    return whole, 5 if batch_s < 0.02 else 3 if batch_s < 0.1 else 2


def _ops(
    workload: Workload, run: Run, passes: int, between: Callable[[], object]
) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Seconds beside every traced op, and bytes that it touched first; None where it did not run as traced."""
    times = run.ops_in_context(passes, between)
    found = beside([op for op in workload.ops if op.phase != "optimizer"], times.names)
    moved = [op.bytes_moved for op in workload.ops if op.phase == "optimizer"]
    seconds = [None if at is None else times.seconds[at] for at in found]
    mapped = [None if at is None else times.mapped[at] for at in found]
    step_s = by_parameter(times.step_s, moved, at_once=times.step_at_once)
    step_mapped = by_parameter(times.step_mapped, moved, at_once=times.step_at_once)
    return (*seconds, *step_s), (*mapped, *step_mapped)


def energy_of(
    run: Callable[[], object], batch_s: float, meters: Sequence[Meter], stopwatch: Stopwatch
) -> tuple[float | None, str]:
    """Joules of one batch, from a window of whole batches that the meters can read; and their status."""
    if not meters:
        return None, "absent"
    refresh_s = max((part.minimum_window_s for meter in meters for part in meter.components()), default=0.0)
    calls = max(1, math.ceil(max(_ENERGY_WINDOW_S, 1.1 * refresh_s) / batch_s))
    with measure(meters, synchronise=stopwatch.synchronize, policy=None) as window:
        for _ in range(calls):
            run()
    total = window.measurement.total
    return (None if total.energy_j is None else total.energy_j / calls), total.status


@cache
def _counts_memory(device: str) -> bool:
    """Whether `Stopwatch.mapped_bytes` tells of 64 MiB of new memory: not on a GPU, nor where pages are huge."""
    stopwatch = stopwatch_of(device)
    before = stopwatch.mapped_bytes()
    new = torch.ones(1 << 24)
    return stopwatch.mapped_bytes() - before > 0.9 * new.nbytes


def measured(seed: int, network: Network, workload: Workload, device: str, meters: Sequence[Meter]) -> Sample:
    """Measure the network named by `seed` (drawn and traced by the caller) on a torch device."""
    stopwatch = stopwatch_of(device)
    run = Run(with_data(network, device), stopwatch)
    batch_s = run.warm_up()
    whole_runs, op_passes = passes(batch_s)
    pace = follow(device)
    run.whole(whole_runs // 2, pace.look)
    op_s, op_mapped = _ops(workload, run, op_passes, pace.look)
    # half before and half after, so that both see the same machine
    whole = run.whole(whole_runs - whole_runs // 2, pace.look)
    pace_s = pace.seconds()
    energy_j, status = energy_of(run, whole.total_s, meters, stopwatch)
    return Sample(
        seed=seed,
        phases=whole.phases,
        total_s=whole.total_s,
        scatter=whole.scatter,
        runs=whole.runs,
        op_s=op_s,
        energy_j=energy_j,
        energy_status=status,
        pace_s=pace_s,
        op_mapped=op_mapped if _counts_memory(device) else (),
    )


def draw(seed: int, device: str, dtypes: Sequence[str]) -> tuple[Network, Workload] | None:
    """The network named by `seed` and its ops; None where it does not run, or is too large to be measured."""
    try:
        network = drawn(seed, dtypes, BATCHES[device.split(":", maxsplit=1)[0]])
        workload = workload_of(network)
    except (InputError, ValueError, RuntimeError):  # a pooling of a single pixel, a norm over one value
        return None
    return (network, workload) if fits(workload, device) else None


def free(device: str) -> None:
    """Give the memory of measured networks back."""
    gc.collect()
    gc.freeze()  # what is left stays for long: looking through it again each time would take a sixth of a calibration
    if device.startswith("cuda"):
        cuda: Any = torch.cuda
        cuda.empty_cache()
