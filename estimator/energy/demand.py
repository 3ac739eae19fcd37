"""What ops ask of a device and its host, op by op, and what that adds up to.

A phase of a workload depends on its ops through sums alone (`estimator.energy.pricing` says how), so that the sums of
parts can be kept and added: a search prices a thousand candidates a second by them. What an op asks follows from its
roofline (Williams, Waterman and Patterson 2009), or from what a calibration learned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from estimator.energy.columns import OP_CLASSES, Columns, Floats, columns_of
from estimator.energy.model import TILE, EnergyModel
from estimator.energy.op_times import OpTimes
from estimator.workload.ops import PHASES, Workload

FORWARD, BACKWARD, OPTIMIZER = range(len(PHASES))
_GROUPED, _CONV, _WINOGRAD = map(OP_CLASSES.index, ("grouped", "conv", "winograd"))

Term = Literal[
    "ops",
    "kernels",
    "module_calls",
    "device_s",
    "clocked_s",
    "host_s",
    "busy_s",
    "memory_s",
    "active_j",
    "flop_j",
    "byte_j",
    "spread_s",
]
TERMS: tuple[Term, ...] = get_args(Term)
"""What is added up: see `Demand`; and of `busy_s`, the seconds that wait for memory."""

_AT = {name: index for index, name in enumerate(TERMS)}


@dataclass(frozen=True)
class Demand:
    """What each op asks for, one value an op.

    `device_s`: seconds on the device, with the kernel's start and its ragged end; `host_s`: seconds in which the host
    launches it; both without the kernels of an optimizer, which go by groups of parameters. `clocked_s`: of `device_s`
    what goes as 1 / clock. `busy_s`: seconds with every multiprocessor at work; `active_j`: what that draws beyond the
    static power; `flop_j` and `byte_j`: joules of arithmetic and of bytes. `spread_s`: seconds of `busy_s` times how
    far they are not known (calibrated machines).
    """

    kernels: Floats
    device_s: Floats
    clocked_s: Floats
    host_s: Floats
    busy_s: Floats
    memory_bound: NDArray[np.bool_]
    active_j: Floats
    flop_j: Floats
    byte_j: Floats
    spread_s: Floats


@dataclass(frozen=True)
class Sums:
    """Demands added up, by workload, phase and term: `table` has the shape (workloads, 3, terms)."""

    table: Floats

    def __getitem__(self, term: Term) -> Floats:
        """One term, by workload and phase."""
        return self.table[..., _AT[term]]

    @classmethod
    def together(cls, parts: Iterable[Sums]) -> Sums:
        """The sums of workloads out of those of their parts."""
        return cls(np.add.reduce([part.table for part in parts]))


def roofline(columns: Columns, model: EnergyModel) -> Demand:
    """The roofline of each op.

    A wave is one tile of `TILE` x `TILE` results on every multiprocessor; on average its last one is half full.
    """
    rates, memory, launching = model.rates, model.memory, model.launching
    flop_per_s, per_flop = (table[columns.op_class, columns.dtype] for table in rates.tables)
    convolved = (columns.op_class == _CONV) | (columns.op_class == _WINOGRAD) | (columns.op_class == _GROUPED)
    backward = np.where(convolved & (columns.phase == BACKWARD), rates.backward_efficiency, 1.0)
    cached = columns.bytes_moved <= memory.cache_bytes
    moved = np.where(cached, memory.cached_share * columns.bytes_moved, columns.bytes_moved)
    reached = np.where(columns.op_class == _GROUPED, memory.grouped_bandwidth, 1.0) * backward
    reached = reached * np.array([1.0, memory.norm_bandwidth, memory.norm_backward_bandwidth])[columns.norm]

    filled = (1 + rates.fill_blocks / columns.blocks) / backward
    compute_s = filled * (columns.flops / flop_per_s + columns.exponentials / rates.exponentials_per_s)
    compute_s += columns.units * rates.unit_s
    touched_s = memory.fresh_s_per_byte * columns.fresh_bytes
    memory_s = moved / (memory.bandwidth_bytes_per_s * reached) + touched_s
    relaid = rates.relaid_share * rates.relays[columns.op_class, columns.dtype] * columns.relaid_bytes
    relaid = relaid + columns.biased_bytes * model.asynchronous  # passes beside the convolution's own kernel
    relaid_s = relaid / memory.bandwidth_bytes_per_s
    ideal_s = np.maximum(compute_s + touched_s, memory_s)
    spread_over = np.maximum(columns.results, TILE**2 / 2)  # at worst on one multiprocessor
    ragged_s = compute_s * (1 + rates.half_wave / spread_over)

    launched = np.where(columns.phase == OPTIMIZER, 0.0, columns.kernels)
    called = np.where(columns.phase == OPTIMIZER, 0.0, columns.calls)  # cuDNN launches a call's kernels by itself
    worked_s = np.maximum(ideal_s, ragged_s)
    return Demand(
        kernels=columns.kernels,
        device_s=worked_s + relaid_s + launched * launching.kernel_s,
        clocked_s=np.where(worked_s > memory_s, worked_s, 0.0),
        host_s=(called if model.asynchronous else columns.calls * launched) * launching.launch_s,
        busy_s=ideal_s + relaid_s,
        memory_bound=memory_s > compute_s,
        active_j=model.power.active_w * (ideal_s + relaid_s),
        flop_j=per_flop * columns.flops,
        byte_j=memory.energy_per_byte_j * (moved + relaid),
        spread_s=np.zeros_like(ideal_s),
    )


def learned(workload: Workload, model: EnergyModel, times: OpTimes) -> Demand:
    """As `roofline`, with the times that a calibration learned; the roofline where it saw nothing of an op's group."""
    columns = columns_of(workload)
    ideal, predicted = roofline(columns, model), times.predict(workload)
    busy_s = np.where(np.isnan(predicted.seconds), ideal.device_s, predicted.seconds)
    extra_w = np.array([model.power.class_w.get(name, 0.0) for name in OP_CLASSES])[columns.op_class]
    return Demand(
        kernels=ideal.kernels,
        device_s=times.device_s(busy_s, columns, model.asynchronous),
        clocked_s=np.zeros_like(busy_s),
        host_s=times.host_s(columns, model.asynchronous),
        busy_s=busy_s,
        memory_bound=ideal.memory_bound,
        active_j=(model.power.active_w + extra_w) * busy_s,
        flop_j=ideal.flop_j,
        byte_j=ideal.byte_j,
        spread_s=predicted.spreads * busy_s,
    )


def demand_of(workload: Workload, model: EnergyModel) -> Demand:
    """What the ops of `workload` ask of the device that `model` describes."""
    if model.op_times is None:
        return roofline(columns_of(workload), model)
    return learned(workload, model, model.op_times)


def summed(demand: Demand, columns: Columns) -> Sums:
    """`demand`, which is that of `columns`, by workload and phase."""
    count = len(columns.module_calls)
    of_ops: dict[Term, Floats] = {
        "ops": np.ones_like(demand.kernels),
        "kernels": demand.kernels,
        "device_s": demand.device_s,
        "clocked_s": demand.clocked_s,
        "host_s": demand.host_s,
        "busy_s": demand.busy_s,
        "memory_s": demand.busy_s * demand.memory_bound,
        "active_j": demand.active_j,
        "flop_j": demand.flop_j,
        "byte_j": demand.byte_j,
        "spread_s": demand.spread_s,
    }
    table = np.zeros((count * len(PHASES), len(TERMS)))
    for term, values in of_ops.items():
        table[:, _AT[term]] = np.bincount(columns.segments, columns.times * values, len(table))
    sums = Sums(table.reshape(count, len(PHASES), len(TERMS)))
    sums["module_calls"][:, FORWARD] = columns.module_calls
    return sums
