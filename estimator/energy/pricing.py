"""The energy model: a roofline for the time of each op, and power that follows what the op does.

    ideal time of an op = max(FLOPs / rate, bytes / bandwidth) + first touch of new memory
    time of an op       = max(ideal, FLOPs / rate x (1 + half a wave / results)) + kernels x kernel_s
    time of a phase     = max(sum over ops, time the host takes to launch them)     on a GPU, where the host runs ahead
                        = sum over ops + time the host takes to launch them          on a CPU
    energy              = static power x time + active power x ideal time + dynamic energy
    dynamic energy      = energy per FLOP x FLOPs + energy per byte x bytes
    above its power limit a device lowers its clock and voltage (`estimator.energy.governor`), phase by phase

The roofline is Williams, Waterman and Patterson 2009; the energy terms are those of Choi et al. 2013, "A roofline
model of energy" (IPDPS), equations 2 to 4. Rates are sustained ones: the model holds the efficiencies.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimator.energy.columns import Columns, Floats, columns_of
from estimator.energy.demand import FORWARD, OPTIMIZER, Demand, Sums, demand_of, summed
from estimator.energy.governor import Load, governed
from estimator.energy.model import EnergyModel
from estimator.energy.op_times import phase_s
from estimator.energy.uncertainty import Interval, log_normal
from estimator.workload.ops import PHASES, Phase, Workload

Bound = Literal["compute", "memory", "launch"]


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
    shares of the time in which the batch waits for arithmetic, for memory, and for launches. `clock_share`: the lowest
    clock of a phase over the highest allowed one, below 1 where the power limit binds.
    """

    energy_j: Interval
    duration_s: Interval
    batch_size: int
    phase_energy_j: Mapping[Phase, float]
    phase_duration_s: Mapping[Phase, float]
    bound_shares: Mapping[Bound, float]
    layers: tuple[LayerCost, ...]
    clock_share: float = 1.0


@dataclass(frozen=True)
class PhaseCosts:
    """What phases cost, of the shape (workloads, 3): seconds and joules, and in which seconds the device is at work.

    `device_s` and `host_s` are what the time is made of: their sum, or on a GPU the larger one, where `waits` says
    whether it is the host's. `memory_s` is the part of `work_s` in which the device waits for memory. `clock`: over the
    highest allowed one; `active_share` and `flop_share`: joules of `Demand` there over those at the highest clock.
    """

    time_s: Floats
    energy_j: Floats
    device_s: Floats
    host_s: Floats
    waits: NDArray[np.bool_]
    work_s: Floats
    memory_s: Floats
    clock: Floats
    active_share: Floats
    flop_share: Floats

    def once_in(self, batches: int) -> PhaseCosts:
        """The same for one batch, where the optimizer's step is one of so many batches."""
        parts = np.where(np.arange(len(PHASES)) == OPTIMIZER, 1 / batches, 1.0)
        spread = ("time_s", "energy_j", "device_s", "host_s", "work_s", "memory_s")
        return replace(self, **{name: parts * getattr(self, name) for name in spread})


def optimizer_launches(sums: Sums, model: EnergyModel) -> Floats:
    """Kernels of each workload's optimizer step: multi-tensor kernels take many parameters at once on a GPU."""
    tensors, kernels = sums["ops"][:, OPTIMIZER], sums["kernels"][:, OPTIMIZER]
    passes = kernels / np.maximum(tensors, 1.0)
    launches: Floats = passes * np.ceil(tensors / model.launching.tensors_per_optimizer_launch)
    return launches


def _host_beside(sums: Sums, model: EnergyModel) -> Floats:
    """Seconds that the host takes beside its ops: for calls of modules, and (calibrated machines) for each phase."""
    if model.op_times is not None:
        training = np.asarray(sums["ops"][:, FORWARD + 1 :].any(axis=1))
        return model.op_times.beside_s(sums["module_calls"], training)
    beside = np.zeros_like(sums["ops"])
    beside[:, FORWARD] = model.launching.module_call_s * sums["module_calls"][:, FORWARD]
    return beside


def _share(part: Floats, whole: Floats) -> Floats:
    """part / whole, 1 where there is nothing."""
    shares: Floats = np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)
    return shares


def phases_of(sums: Sums, model: EnergyModel) -> PhaseCosts:
    """Seconds and joules of every phase of every workload on the device that `model` describes."""
    device_s, host_s = sums["device_s"].copy(), sums["host_s"] + _host_beside(sums, model) * (sums["ops"] > 0)
    if model.op_times is None:
        launches = optimizer_launches(sums, model)
        device_s[:, OPTIMIZER] += launches * model.launching.kernel_s
        host_s[:, OPTIMIZER] += launches * model.launching.launch_s
    in_turn_s = np.zeros_like(host_s) if model.asynchronous else host_s
    busy_share = _share(
        np.minimum(sums["busy_s"], phase_s(device_s, host_s, asynchronous=model.asynchronous)), sums["busy_s"]
    )
    load = Load(
        other_s=device_s - sums["clocked_s"] + in_turn_s,
        clocked_s=sums["clocked_s"],
        host_s=host_s,
        busy_s=busy_share * sums["busy_s"],
        active_j=busy_share * sums["active_j"],
        flop_j=sums["flop_j"],
        byte_j=sums["byte_j"],
        static_w=model.power.static_w,
    )
    slowed = governed(load, model.power.governor, model.power.limit_w)
    at_clock_s = slowed.device_s - in_turn_s
    waits = (host_s > at_clock_s) & model.asynchronous
    time_s = phase_s(at_clock_s, host_s, asynchronous=model.asynchronous)
    energy_j = model.power.static_w * time_s + slowed.active_j + slowed.flop_j + sums["byte_j"]
    busy_s = np.minimum(load.busy_s + at_clock_s - device_s, time_s)
    work_s, memory_s = (np.where(waits, 0.0, seconds) for seconds in (busy_s, busy_share * sums["memory_s"]))
    return PhaseCosts(
        time_s=time_s,
        energy_j=energy_j,
        device_s=at_clock_s,
        host_s=host_s,
        waits=waits,
        work_s=work_s,
        memory_s=memory_s,
        clock=slowed.clock,
        active_share=_share(slowed.active_j, sums["active_j"]),
        flop_share=_share(slowed.flop_j, sums["flop_j"]),
    )


def _op_energies(demand: Demand, columns: Columns, sums: Sums, phases: PhaseCosts, model: EnergyModel) -> Floats:
    """Joules of every op; what a phase takes beside its ops is shared out among them in equal parts."""
    at = columns.segments
    ops, longer = np.maximum(sums["ops"], 1.0), 1 / phases.clock - 1
    of_ops_s = sums["device_s"] + longer * sums["clocked_s"]
    device = demand.device_s + longer.ravel()[at] * demand.clocked_s
    device += ((phases.device_s - of_ops_s) / ops).ravel()[at]
    host = demand.host_s + ((phases.host_s - sums["host_s"]) / ops).ravel()[at]
    time = np.where(phases.waits.ravel()[at], host, device) if model.asynchronous else host + device
    active_j = phases.active_share.ravel()[at] * demand.active_j
    energy: Floats = (
        model.power.static_w * time + active_j + phases.flop_share.ravel()[at] * demand.flop_j + demand.byte_j
    )
    return energy


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


def _spreads(model: EnergyModel, sums: Sums, training: bool, launch_share: float) -> tuple[float, float]:
    """How far the joules and the seconds of the one workload of `sums` are not known (of their logarithms)."""
    spreads = model.spreads
    if model.op_times is not None:
        known_s = float(sums["busy_s"].sum()) or 1.0
        spread_s = model.op_times.margin(training) * float(sums["spread_s"].sum()) / known_s
        return math.hypot(spreads.energy, spread_s), spread_s
    beside = math.hypot(spreads.launch * launch_share, spreads.training if training else 0.0)
    return math.hypot(spreads.energy, beside), math.hypot(spreads.duration, beside)


def estimate_of(
    sums: Sums, phases: PhaseCosts, model: EnergyModel, batch_size: int, layers: tuple[LayerCost, ...] = ()
) -> Estimate:
    """The estimate of the one workload of `sums`, whose phases cost `phases`."""
    found = [(index, phase) for index, phase in enumerate(PHASES) if sums["ops"][0, index]]
    energy: dict[Phase, float] = {phase: float(phases.energy_j[0, index]) for index, phase in found}
    duration: dict[Phase, float] = {phase: float(phases.time_s[0, index]) for index, phase in found}
    total_j, total_s = sum(energy.values()), sum(duration.values())
    in_memory, working = float(phases.memory_s.sum()), float(phases.work_s.sum())
    waits: dict[Bound, float] = {"compute": working - in_memory, "memory": in_memory, "launch": total_s - working}
    spread_j, spread_s = _spreads(model, sums, len(found) > 1, waits["launch"] / (total_s or 1.0))
    return Estimate(
        energy_j=log_normal(total_j, spread_j),
        duration_s=log_normal(total_s, spread_s),
        batch_size=batch_size,
        phase_energy_j=energy,
        phase_duration_s=duration,
        bound_shares={bound: waited / total_s for bound, waited in waits.items()} if total_s else {},
        layers=layers,
        clock_share=min((float(phases.clock[0, index]) for index, _ in found), default=1.0),
    )


def price(workload: Workload, model: EnergyModel) -> Estimate:
    """Predict the energy and the duration of one batch of `workload` on the device that `model` describes."""
    columns, demand = columns_of(workload), demand_of(workload, model)
    sums = summed(demand, columns)
    phases = phases_of(sums, model)
    energy_j = _op_energies(demand, columns, sums, phases, model)
    energy_j = np.where(columns.phase == OPTIMIZER, energy_j / workload.accumulate, energy_j)
    phases = phases.once_in(workload.accumulate)
    layers = _layers(workload, energy_j, float(energy_j.sum()))
    return estimate_of(sums, phases, model, workload.batch_size, layers)
