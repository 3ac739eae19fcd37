"""How long ops take on a machine that was calibrated: a roofline, times what was learned of each group of ops.

    seconds = roofline x exp(slopes . features + forest(features)) + first touch x new memory    an op in context
    roofline = launch x launches + max(FLOPs / peak, bytes / bandwidth)
    CPU:  phase = sum of (scale x seconds + per op) + per module call x calls + per phase
          an optimizer's, also: + per kernel x kernels + per byte x bytes given back (gradients, temporaries)
    GPU:  phase = max(scale x sum of seconds, per op x ops + per module call x calls + per phase)

Slopes and forest learn log(measured / roofline), so that outside of what was seen it still grows as the roofline does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimator.energy.columns import Columns, columns_of
from estimator.energy.forest import Forest
from estimator.energy.op_features import Described, describe
from estimator.workload.ops import PHASES, Op, Phase, Workload

Floats = NDArray[np.float64]
Place = Literal["inference", "forward", "backward", "optimizer"]
PLACES: tuple[Place, ...] = ("inference", "forward", "backward", "optimizer")
"""Where an op runs. A forward pass that keeps its activations for training is not the one of an inference."""

SHORTEST_S = 3e-7
"""No op takes less, whatever is subtracted for the timer: about the cost of one call through PyTorch's dispatcher."""

_BEYOND = 0.1
"""A feature may leave the calibrated range by this much (of a logarithm) before the op counts as not seen."""


def place_of(phase: Phase, training: bool) -> Place:
    """Where ops of `phase` run."""
    return "inference" if phase == "forward" and not training else phase


def phase_s(device_s: Floats, host_s: Floats, *, asynchronous: bool) -> Floats:
    """Seconds of phases: of device and host the slower one where the host runs ahead (a GPU), else both in turn."""
    return np.maximum(host_s, device_s) if asynchronous else host_s + device_s


@dataclass(frozen=True)
class OpGroup:
    """What was learned of a group of ops. `names`: log factors of single ops, the first of the forest's features.

    `low` and `high` are the range of every feature in calibration, that of the name first, and `slopes` what the log
    factor grows with each of them inside of it; the forest adds the rest. `spread` is how far the group's predictions
    miss in networks not seen (root mean square of log(measured / predicted), of the group's time in a network).
    """

    flop_per_s: float | None
    names: Mapping[str, float]
    low: tuple[float, ...]
    high: tuple[float, ...]
    slopes: tuple[float, ...]
    forest: Forest
    spread: float = 0.0

    def log_factor(self, rows: Floats) -> Floats:
        """log(measured / roofline) for rows of a name's factor and an op's features."""
        inside = np.clip(rows, self.low, self.high)
        linear: Floats = inside @ np.array(self.slopes)
        return self.forest.predict(rows) + linear


@dataclass(frozen=True)
class Overhead:
    """What a phase takes beside its ops, as fitted on whole networks: a factor, and seconds per op, call and phase.

    An optimizer's op stands for several kernels per parameter, each of which was timed by itself, so that what the
    timer takes goes by `kernel_s`; and the memory of gradients and temporaries is given back, at `freed_s_per_byte`.
    """

    scale: float = 1.0
    op_s: float = 0.0
    module_call_s: float = 0.0
    phase_s: float = 0.0
    kernel_s: float = 0.0
    freed_s_per_byte: float = 0.0

    def device_s(self, seconds: Floats, kernels: Floats, freed_bytes: Floats, gpu: bool) -> Floats:
        """Seconds of ops that take `seconds` by themselves; on a CPU, what their calls take is in it."""
        if gpu:
            return self.scale * seconds
        beside = self.op_s + self.kernel_s * kernels + self.freed_s_per_byte * freed_bytes
        return np.maximum(self.scale * seconds + beside, SHORTEST_S)


_NOTHING = Overhead()


@dataclass(frozen=True)
class Predicted:
    """Seconds of every op of a workload: not a number where no op of its group was calibrated.

    `unseen`: which ops are outside of what was calibrated. `spreads`: how far each op's time is not known (of its log).
    """

    seconds: Floats
    unseen: NDArray[np.bool_]
    spreads: Floats

    @property
    def spread(self) -> float:
        """How far the sum is not known: errors of ops of one group go together, so that shares of time weigh them."""
        known = np.nan_to_num(self.seconds)
        return float((known * self.spreads).sum() / (known.sum() or 1.0))


def roofline_s(op: Op, flop_per_s: float | None, bandwidth_bytes_per_s: float, launch_s: float) -> float:
    """launch x launches + max(FLOPs / peak, bytes / bandwidth) (Williams, Waterman and Patterson 2009)."""
    compute = op.flops / flop_per_s if flop_per_s else 0.0
    return launch_s * max(1, op.launches) + max(compute, op.bytes_moved / bandwidth_bytes_per_s)


@dataclass(frozen=True)
class OpTimes:
    """The learned times of one machine.

    `unseen_spread` is the standard deviation of log(measured / roofline) of ops. `margins` (of "inference" and
    "training") turn `Predicted.spread` into the spread of a batch's duration, so that nine in ten networks that the fit
    had not seen lie inside the interval (normalised conformal prediction: Lei et al. 2018, section 5.2).
    """

    bandwidth_bytes_per_s: float
    launch_s: float
    groups: Mapping[str, OpGroup]
    overheads: Mapping[Place, Overhead]
    unseen_spread: float
    margins: Mapping[str, float] = field(default_factory=dict)
    fresh_s_per_byte: float = 0.0

    def roofline_s(self, op: Op, flop_per_s: float | None) -> float:
        """The roofline of `op`, see the function of that name."""
        return roofline_s(op, flop_per_s, self.bandwidth_bytes_per_s, self.launch_s)

    def margin(self, training: bool) -> float:
        """The factor on `Predicted.spread`."""
        return self.margins.get("training" if training else "inference", 1.0)

    def overhead(self, place: Place) -> Overhead:
        """What ops take beside their own time at `place`."""
        return self.overheads.get(place, _NOTHING)

    def device_s(self, seconds: Floats, columns: Columns, gpu: bool) -> Floats:
        """Seconds of every op of a workload where it runs, from what they take by themselves (`predict`)."""
        device_s = np.zeros_like(seconds)
        for index, over in self._by_phase(columns):
            at = columns.phase == index
            device_s[at] = over.device_s(seconds[at], columns.kernels[at], columns.freed_bytes[at], gpu)
        return device_s

    def host_s(self, columns: Columns, gpu: bool) -> Floats:
        """Seconds in which the host launches every op of a workload; on a CPU they are in `device_s`."""
        host_s = np.zeros_like(columns.flops)
        for index, over in self._by_phase(columns):
            at = columns.phase == index
            host_s[at] = over.op_s * columns.calls[at] if gpu else 0.0
        return host_s

    def _by_phase(self, columns: Columns) -> Iterator[tuple[int, Overhead]]:
        training = bool((columns.phase > 0).any())
        for index, phase in enumerate(PHASES):
            yield index, self.overhead(place_of(phase, training))

    def beside_s(self, module_calls: Floats, training: NDArray[np.bool_]) -> Floats:
        """What phases take beside their ops, (workloads, 3): `module_calls` by phase, `training` by workload."""
        taken = np.zeros_like(module_calls)
        for index, phase in enumerate(PHASES):
            for trained in (False, True):
                over, at = self.overhead(place_of(phase, trained)), training == trained
                taken[at, index] = over.phase_s + over.module_call_s * module_calls[at, index]
        return taken

    def phases_s(self, workload: Workload, seconds: Floats, gpu: bool) -> dict[Phase, float]:
        """Seconds of every phase of a batch, from the seconds of its ops."""
        columns = columns_of(workload)
        device_s, host_s = np.zeros(len(PHASES)), np.zeros(len(PHASES))
        device_s += np.bincount(columns.phase, self.device_s(seconds, columns, gpu), len(PHASES))
        host_s += np.bincount(columns.phase, self.host_s(columns, gpu), len(PHASES))
        calls = np.zeros((1, len(PHASES)))
        calls[0, PHASES.index("forward")] = workload.module_calls
        found = np.bincount(columns.phase, minlength=len(PHASES)) > 0
        beside_s = self.beside_s(calls, np.array([bool(found[1:].any())]))[0] * found
        taken = phase_s(device_s, host_s + beside_s, asynchronous=gpu).tolist()
        return {phase: taken[index] for index, phase in enumerate(PHASES) if found[index]}

    def batch_s(self, workload: Workload, seconds: Floats, gpu: bool) -> float:
        """Seconds of a whole batch, from the seconds of its ops."""
        return sum(self.phases_s(workload, seconds, gpu).values())

    def predict(self, workload: Workload, described: Sequence[Described] | None = None) -> Predicted:
        """Seconds of every op, in the workload's order, before `overheads`; `described` where it is known already."""
        described, columns = describe(workload) if described is None else described, columns_of(workload)
        seconds = np.full(len(described), np.nan)
        unseen, spreads = np.ones(len(described), dtype=np.bool_), np.full(len(described), self.unseen_spread)
        members: dict[str, list[int]] = {}
        for index, one in enumerate(described):
            if one.group in self.groups:
                members.setdefault(one.group, []).append(index)
        for name, indices in members.items():
            group = self.groups[name]
            seconds[indices] = [self.roofline_s(workload.ops[i], group.flop_per_s) for i in indices]
            rows = np.array([(group.names.get(described[i].name, 0.0), *described[i].features) for i in indices])
            different, back = np.unique(rows, axis=0, return_inverse=True)  # layers repeat
            seconds[indices] *= np.exp(group.log_factor(different))[back.ravel()]
            seconds[indices] += self.fresh_s_per_byte * columns.fresh_bytes[indices]
            beyond = (rows < np.array(group.low) - _BEYOND) | (rows > np.array(group.high) + _BEYOND)
            unseen[indices] = beyond[:, 1:].any(axis=1)  # a name that was not seen is no size
            spreads[indices] = np.where(unseen[indices], max(self.unseen_spread, group.spread), group.spread)
        return Predicted(seconds, unseen, spreads)
