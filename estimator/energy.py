"""The energy model: a roofline for the time of each op, and power that follows what the op does.

    time of an op    = kernels x kernel_s + max(FLOPs / rate, bytes / bandwidth, dynamic energy / power left)
    time of a phase  = max(sum over ops, time the host takes to launch them)     on a GPU, where the host runs ahead
                     = sum over ops + time the host takes to launch them          on a CPU
    energy           = static power x time + dynamic energy
    dynamic energy   = energy per FLOP x FLOPs + energy per byte x bytes; power left = power limit - static power

The roofline is Williams, Waterman and Patterson 2009; the energy terms are those of Choi et al. 2013, "A roofline
model of energy" (IPDPS), equations 2 to 4. Rates are sustained ones: the profile holds the efficiencies.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimator.hardware import HardwareProfile
from estimator.uncertainty import Interval, log_normal
from estimator.workload import PHASES, Op, Phase, Workload

Bound = Literal["compute", "memory", "launch"]
_BOUNDS: tuple[Bound, ...] = ("compute", "memory", "launch")
Floats = NDArray[np.float64]


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
class _PhaseCost:
    """Per op of one phase: seconds (adding up to the phase's duration) and joules."""

    time_s: Floats
    energy_j: Floats
    waits_s: Mapping[Bound, float]


def optimizer_launches(ops: Sequence[Op], profile: HardwareProfile) -> float:
    """Kernels of an optimizer step: PyTorch's multi-tensor kernels take many parameters at once on a GPU."""
    steps = max((op.launches for op in ops), default=0)
    return steps * math.ceil(len(ops) / profile.tensors_per_optimizer_launch)


def _price_phase(ops: Sequence[Op], module_calls: int, profile: HardwareProfile) -> _PhaseCost:
    flops = np.array([op.flops for op in ops], dtype=np.float64)
    moved = np.array([op.bytes_moved for op in ops], dtype=np.float64)
    launches = np.array([op.launches for op in ops], dtype=np.float64)
    if ops[0].phase == "optimizer":
        launches *= optimizer_launches(ops, profile) / launches.sum()
    rates = [profile.rate_of(op.kind, op.dtype) for op in ops]
    flop_per_s = np.array([profile.flop_per_s.get((op.kind, r), np.inf) for op, r in zip(ops, rates, strict=True)])
    per_flop = np.array([profile.energy_per_flop_j[r] for r in rates])

    compute = flops / flop_per_s
    memory = moved / profile.bandwidth_bytes_per_s
    dynamic_j = per_flop * flops + profile.energy_per_byte_j * moved
    throttled = dynamic_j / (profile.power_limit_w - profile.static_power_w)
    work = np.maximum(np.maximum(compute, memory), throttled)
    device = launches * profile.kernel_s + work
    one_call_each = profile.asynchronous and ops[0].phase != "optimizer"  # cuDNN launches a call's kernels by itself
    calls = np.ones_like(launches) if one_call_each else launches
    host = calls * profile.launch_s + module_calls * profile.module_call_s / len(ops)
    if not profile.asynchronous:
        time, busy = host + device, work
    elif host.sum() > device.sum():  # the device waits for the host all along
        time, busy = host, np.zeros_like(work)
    else:
        time, busy = device, work
    energy = profile.static_power_w * time + dynamic_j
    return _PhaseCost(
        time,
        energy,
        {
            "compute": float(busy[compute >= memory].sum()),
            "memory": float(busy[compute < memory].sum()),
            "launch": float((time - busy).sum()),
        },
    )


def _layers(costs: Sequence[tuple[Sequence[Op], _PhaseCost]], total_j: float) -> tuple[LayerCost, ...]:
    """The layers by their paths (the loss apart from the model itself), dearest first."""
    energy: dict[tuple[str, bool], float] = defaultdict(float)
    types: dict[tuple[str, bool], str] = {}
    for ops, cost in costs:
        for op, joules in zip(ops, cost.energy_j.tolist(), strict=True):
            layer = op.layer, op.layer_type == "loss"
            energy[layer] += joules
            types.setdefault(layer, op.layer_type)
    dearest_first = sorted(energy.items(), key=lambda item: -item[1])
    return tuple(LayerCost(layer[0], types[layer], joules, joules / total_j) for layer, joules in dearest_first)


def price(workload: Workload, profile: HardwareProfile) -> Estimate:
    """Predict the energy and the duration of one batch of `workload` on the device of `profile`."""
    phases = [(phase, workload.of_phase(phase)) for phase in PHASES]
    costs = {
        phase: (ops, _price_phase(ops, workload.module_calls if phase == "forward" else 0, profile))
        for phase, ops in phases
        if ops
    }
    energy = {phase: float(cost.energy_j.sum()) for phase, (_, cost) in costs.items()}
    duration = {phase: float(cost.time_s.sum()) for phase, (_, cost) in costs.items()}
    total_j, total_s = sum(energy.values()), sum(duration.values())
    waits: dict[Bound, float] = {b: sum(c.waits_s[b] for _, c in costs.values()) for b in _BOUNDS} if total_s else {}
    launch_spread = profile.launch_spread * waits.get("launch", 0.0) / (total_s or 1.0)
    return Estimate(
        energy_j=log_normal(total_j, math.hypot(profile.energy_spread, launch_spread)),
        duration_s=log_normal(total_s, math.hypot(profile.duration_spread, launch_spread)),
        batch_size=workload.batch_size,
        phase_energy_j=energy,
        phase_duration_s=duration,
        bound_shares={bound: waited / total_s for bound, waited in waits.items()},
        layers=_layers(list(costs.values()), total_j),
    )
