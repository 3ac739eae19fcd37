"""What ops ask of a device and its host, op by op, and what that adds up to.

A phase of a workload depends on its ops through sums alone (`estimator.energy` says how), so that the sums of parts can
be kept and added: a search prices a thousand candidates a second by them. What an op asks follows from its roofline
(Williams, Waterman and Patterson 2009), or from what a calibration learned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from estimator.columns import OP_CLASSES, Columns, Floats
from estimator.hardware import TILE, HardwareProfile
from estimator.op_times import OpTimes
from estimator.workload import PHASES, Workload

FORWARD, BACKWARD, OPTIMIZER = range(len(PHASES))
_GROUPED = OP_CLASSES.index("grouped")

Term = Literal[
    "ops", "kernels", "module_calls", "device_s", "host_s", "busy_s", "memory_s", "active_j", "dynamic_j", "spread_s"
]
TERMS: tuple[Term, ...] = get_args(Term)
"""What is added up: see `Demand`; and of `busy_s`, the seconds that wait for memory."""

_AT = {name: index for index, name in enumerate(TERMS)}


@dataclass(frozen=True)
class Demand:
    """What each op asks for, one value an op.

    `device_s`: seconds on the device, with the kernel's start and its ragged end; `host_s`: seconds in which the host
    launches it; both without the kernels of an optimizer, which go by groups of parameters. `busy_s`: seconds with
    every multiprocessor at work; `active_j`: what that draws beyond the static power; `dynamic_j`: joules of arithmetic
    and bytes. `spread_s`: seconds of `busy_s` times how far they are not known (calibrated machines).
    """

    kernels: Floats
    device_s: Floats
    host_s: Floats
    busy_s: Floats
    memory_bound: NDArray[np.bool_]
    active_j: Floats
    dynamic_j: Floats
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


def roofline(columns: Columns, profile: HardwareProfile) -> Demand:
    """The roofline of each op.

    A wave is one tile of `TILE` x `TILE` results on every multiprocessor; on average its last one is half full.
    """
    flop_per_s, per_flop = (table[columns.op_class, columns.dtype] for table in profile.tables)
    backward = np.where(columns.phase == BACKWARD, profile.backward_efficiency, 1.0)
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

    launched = np.where(columns.phase == OPTIMIZER, 0.0, columns.kernels)
    called = np.where(columns.phase == OPTIMIZER, 0.0, 1.0)  # cuDNN launches a call's kernels by itself
    return Demand(
        kernels=columns.kernels,
        device_s=np.maximum(ideal, ragged) + launched * profile.kernel_s,
        host_s=(called if profile.asynchronous else launched) * profile.launch_s,
        busy_s=ideal,
        memory_bound=memory > compute,
        active_j=profile.active_power_w * ideal,
        dynamic_j=dynamic_j,
        spread_s=np.zeros_like(ideal),
    )


def learned(workload: Workload, profile: HardwareProfile, times: OpTimes) -> Demand:
    """As `roofline`, with the times that a calibration learned; the roofline where it saw nothing of an op's group."""
    columns = workload.columns
    ideal, predicted = roofline(columns, profile), times.predict(workload)
    busy = np.where(np.isnan(predicted.seconds), ideal.device_s, predicted.seconds)
    extra_w = np.array([profile.class_power_w.get(name, 0.0) for name in OP_CLASSES])[columns.op_class]
    return Demand(
        kernels=ideal.kernels,
        device_s=times.device_s(busy, columns, profile.asynchronous),
        host_s=times.host_s(columns, profile.asynchronous),
        busy_s=busy,
        memory_bound=ideal.memory_bound,
        active_j=(profile.active_power_w + extra_w) * busy,
        dynamic_j=ideal.dynamic_j,
        spread_s=predicted.spreads * busy,
    )


def demand_of(workload: Workload, profile: HardwareProfile) -> Demand:
    """What the ops of `workload` ask of the device of `profile`."""
    if profile.op_times is None:
        return roofline(workload.columns, profile)
    return learned(workload, profile, profile.op_times)


def summed(demand: Demand, columns: Columns) -> Sums:
    """`demand`, which is that of `columns`, by workload and phase."""
    count = len(columns.module_calls)
    of_ops: dict[Term, Floats] = {
        "ops": np.ones_like(demand.kernels),
        "kernels": demand.kernels,
        "device_s": demand.device_s,
        "host_s": demand.host_s,
        "busy_s": demand.busy_s,
        "memory_s": demand.busy_s * demand.memory_bound,
        "active_j": demand.active_j,
        "dynamic_j": demand.dynamic_j,
        "spread_s": demand.spread_s,
    }
    table = np.zeros((count * len(PHASES), len(TERMS)))
    for term, values in of_ops.items():
        table[:, _AT[term]] = np.bincount(columns.segments, values, len(table))
    sums = Sums(table.reshape(count, len(PHASES), len(TERMS)))
    sums["module_calls"][:, FORWARD] = columns.module_calls
    return sums
