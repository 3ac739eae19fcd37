"""The energy model: a roofline for the time of each op, and power that follows what the op does.

    ideal time of an op = max(FLOPs / rate, bytes / bandwidth, dynamic energy / power left) + first touch of new memory
    time of an op       = max(ideal, FLOPs / rate x (1 + half a wave / results)) + kernels x kernel_s
    time of a phase     = max(sum over ops, time the host takes to launch them)     on a GPU, where the host runs ahead
                        = sum over ops + time the host takes to launch them          on a CPU
    energy              = static power x time + active power x ideal time + dynamic energy
    dynamic energy      = energy per FLOP x FLOPs + energy per byte x bytes
    power left          = power limit - static power - active power: a device slows down rather than draw more

The roofline is Williams, Waterman and Patterson 2009; the energy terms are those of Choi et al. 2013, "A roofline
model of energy" (IPDPS), equations 2 to 4. Rates are sustained ones: the profile holds the efficiencies.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimator.columns import OP_CLASSES, Columns, Floats
from estimator.hardware import TILE, HardwareProfile
from estimator.op_times import OpTimes, Predicted
from estimator.uncertainty import Interval, log_normal
from estimator.workload import PHASES, Phase, Workload

Bound = Literal["compute", "memory", "launch"]

_FORWARD, _BACKWARD, _OPTIMIZER = range(len(PHASES))
_GROUPED = OP_CLASSES.index("grouped")


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs in one batch: joules at the device, and its share of the batch's energy."""

    name: str
    type: str
    energy_j: float
    share: float


@dataclass(frozen=True)
class Estimate:
    """The predicted cost of one batch of a `Workload` on one device (boundary `device`: the GPU or CPU package).

    `phase_energy_j` and `phase_duration_s` add up to the values of `energy_j` and `duration_s`; `bound_shares` are
    shares of the time in which the batch waits for arithmetic, for memory, and for launches.
    """

    energy_j: Interval
    duration_s: Interval
    batch_size: int
    phase_energy_j: Mapping[Phase, float]
    phase_duration_s: Mapping[Phase, float]
    bound_shares: Mapping[Bound, float]
    layers: tuple[LayerCost, ...]


@dataclass(frozen=True)
class Work:
    """What ops ask of the device itself, one value an op: seconds of arithmetic and of memory, and what they draw.

    `ideal_s` is the time with every multiprocessor at work, `device_s` with the kernel's start and its ragged end.
    """

    compute_s: Floats
    memory_s: Floats
    ideal_s: Floats
    device_s: Floats
    dynamic_j: Floats


@dataclass(frozen=True)
class Costs:
    """Per op: seconds (adding up to the duration of its phase), joules, and seconds in which the device is at work."""

    time_s: Floats
    energy_j: Floats
    work_s: Floats
    memory_bound: NDArray[np.bool_]


def optimizer_launches(columns: Columns, profile: HardwareProfile) -> Floats:
    """Kernels of each workload's optimizer step: multi-tensor kernels take many parameters at once on a GPU."""
    return columns.passes * np.ceil(columns.tensors / profile.tensors_per_optimizer_launch)


def _kernels(columns: Columns, profile: HardwareProfile) -> Floats:
    """Kernels of each op; those of an optimizer's step are shared out among its parameters."""
    stepping = columns.phase == _OPTIMIZER
    one_each = np.bincount(columns.workload, columns.kernels * stepping, len(columns.passes))
    share = optimizer_launches(columns, profile) / np.maximum(one_each, 1.0)
    return np.where(stepping, columns.kernels * share[columns.workload], columns.kernels)


def work_of(columns: Columns, profile: HardwareProfile, kernels: Floats) -> Work:
    """The roofline of each op on the device alone: what its launch costs the host is not in it.

    A wave is one tile of `TILE` x `TILE` results on every multiprocessor; on average its last one is half full.
    """
    flop_per_s, per_flop = (table[columns.op_class, columns.dtype] for table in profile.tables)
    backward = np.where(columns.phase == _BACKWARD, profile.backward_efficiency, 1.0)
    cached = columns.bytes_moved <= profile.cache_bytes
    moved = np.where(cached, profile.cached_share * columns.bytes_moved, columns.bytes_moved)
    reached = np.where(columns.op_class == _GROUPED, profile.grouped_bandwidth, 1.0) * backward

    compute = columns.flops / (flop_per_s * backward)
    touched = profile.fresh_s_per_byte * columns.fresh_bytes
    memory = moved / (profile.bandwidth_bytes_per_s * reached) + touched
    dynamic_j = per_flop * columns.flops + profile.energy_per_byte_j * moved
    left_w = profile.power_limit_w - profile.static_power_w - profile.active_power_w
    ideal = np.maximum(np.maximum(compute + touched, memory), dynamic_j / left_w)
    spread_over = np.maximum(columns.results, TILE**2 / 2)  # at worst on one multiprocessor
    ragged = compute * (1 + profile.half_wave / spread_over)
    return Work(compute, memory, ideal, np.maximum(ideal, ragged) + kernels * profile.kernel_s, dynamic_j)


def _learned(workload: Workload, profile: HardwareProfile, times: OpTimes) -> tuple[Costs, Predicted]:
    """As `costs_of`, with the times that a calibration learned; the roofline where it saw nothing of an op's group."""
    columns = workload.columns
    work = work_of(columns, profile, _kernels(columns, profile))
    predicted = times.predict(workload)
    busy = np.where(np.isnan(predicted.seconds), work.device_s, predicted.seconds)
    training, time = bool((columns.phase != _FORWARD).any()), np.zeros_like(busy)
    whole = times.queued_s if profile.asynchronous else times.called_s
    for index, phase in enumerate(PHASES):
        at = columns.phase == index
        if at.any():
            time[at] = whole(phase, training, busy[at], workload.module_calls)
    busy = np.minimum(busy, time)
    extra_w = np.array([profile.class_power_w.get(name, 0.0) for name in OP_CLASSES])[columns.op_class]
    energy = profile.static_power_w * time + (profile.active_power_w + extra_w) * busy + work.dynamic_j
    return Costs(time, energy, busy, work.memory_s > work.compute_s), replace(predicted, seconds=busy)


def costs_of(columns: Columns, profile: HardwareProfile) -> Costs:
    """Seconds and joules of every op on the device of `profile`, by its roofline."""
    kernels = _kernels(columns, profile)
    work = work_of(columns, profile, kernels)
    segment, count = columns.segments, len(PHASES) * len(columns.module_calls)
    one_call_each = profile.asynchronous & (columns.phase != _OPTIMIZER)  # cuDNN launches a call's kernels by itself
    forward = columns.phase == _FORWARD
    forward_ops = np.bincount(columns.workload, forward, len(columns.module_calls))
    modules = (columns.module_calls / np.maximum(forward_ops, 1.0))[columns.workload] * forward
    host = np.where(one_call_each, 1.0, kernels) * profile.launch_s + modules * profile.module_call_s
    if profile.asynchronous:  # the slower of the two, phase by phase
        waits = (np.bincount(segment, host, count) > np.bincount(segment, work.device_s, count))[segment]
        time, busy = np.where(waits, host, work.device_s), np.where(waits, 0.0, work.ideal_s)
    else:
        time, busy = host + work.device_s, work.ideal_s
    energy = profile.static_power_w * time + profile.active_power_w * work.ideal_s + work.dynamic_j
    return Costs(time, energy, busy, work.memory_s > work.compute_s)


def _layers(workload: Workload, energy_j: Floats, total_j: float) -> tuple[LayerCost, ...]:
    """The layers by their paths (the loss apart from the model itself), dearest first."""
    energy: dict[tuple[str, bool], float] = defaultdict(float)
    types: dict[tuple[str, bool], str] = {}
    for op, joules in zip(workload.ops, energy_j.tolist(), strict=True):
        layer = op.layer, op.layer_type == "loss"
        energy[layer] += joules
        types.setdefault(layer, op.layer_type)
    dearest_first = sorted(energy.items(), key=lambda item: -item[1])
    return tuple(LayerCost(layer[0], types[layer], joules, joules / total_j) for layer, joules in dearest_first)


def _by_phase(columns: Columns, values: Floats) -> dict[Phase, float]:
    """Sums over the phases that the (one) workload has."""
    sums, found = np.bincount(columns.phase, values, len(PHASES)), set(columns.phase.tolist())
    return {phase: float(sums[index]) for index, phase in enumerate(PHASES) if index in found}


def price(workload: Workload, profile: HardwareProfile) -> Estimate:
    """Predict the energy and the duration of one batch of `workload` on the device of `profile`."""
    columns, learned = workload.columns, None
    if profile.op_times is None:
        costs = costs_of(columns, profile)
    else:
        costs, learned = _learned(workload, profile, profile.op_times)
    energy, duration = _by_phase(columns, costs.energy_j), _by_phase(columns, costs.time_s)
    total_j, total_s = sum(energy.values()), sum(duration.values())
    in_memory, working = float(costs.work_s[costs.memory_bound].sum()), float(costs.work_s.sum())
    waits: dict[Bound, float] = {"compute": working - in_memory, "memory": in_memory, "launch": total_s - working}
    training = len(duration) > 1
    if learned is None or profile.op_times is None:
        launch_spread = profile.launch_spread * waits["launch"] / (total_s or 1.0)
        beside = math.hypot(launch_spread, profile.training_spread if training else 0.0)
        spread_j, spread_s = math.hypot(profile.energy_spread, beside), math.hypot(profile.duration_spread, beside)
    else:
        spread_s = profile.op_times.margin(training) * learned.spread
        spread_j = math.hypot(profile.energy_spread, spread_s)
    return Estimate(
        energy_j=log_normal(total_j, spread_j),
        duration_s=log_normal(total_s, spread_s),
        batch_size=workload.batch_size,
        phase_energy_j=energy,
        phase_duration_s=duration,
        bound_shares={bound: waited / total_s for bound, waited in waits.items()} if total_s else {},
        layers=_layers(workload, costs.energy_j, total_j),
    )
