"""Learn the times of ops and phases from measured networks (`estimator.op_times` says what of).

Per group of ops, boosted trees learn log(measured / roofline). Then what whole phases take beside their ops is fitted
on times that the trees predict for networks they have not seen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from calibration.samples import Sample
from estimator.columns import fresh_bytes
from estimator.forest import Forest
from estimator.op_features import Described, describe
from estimator.op_times import PLACES, OpGroup, OpTimes, Overhead, Place, place_of
from estimator.workload import CONTRACTIONS, Op, Phase, Workload

Floats = NDArray[np.float64]

FOLDS = 5
"""Networks are left out in so many parts to learn how far predictions miss."""

_TREES: Mapping[str, Any] = {
    "max_iter": 250,
    "learning_rate": 0.07,
    "min_samples_leaf": 4,
    "max_features": 0.6,
    "random_state": 0,
}
_LARGE, _FEW = 3e7, 5
"""Bytes from which an op's traffic counts as large, and ops that it takes to learn what large ones have in common."""

_SHRINK = 3.0
"""A name seen n times counts n / (n + 3) of its own mean."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A sample with the ops it is of."""

    sample: Sample
    workload: Workload
    described: tuple[Described, ...]

    @classmethod
    def of(cls, sample: Sample, workload: Workload) -> Measured:
        """Describe the ops of `workload`."""
        return cls(sample, workload, tuple(describe(workload)))

    @property
    def training(self) -> bool:
        """Whether it is a training step."""
        return "backward" in self.sample.phases


@dataclass(frozen=True)
class _Row:
    """An op as it was measured, once for all networks in which it is the same."""

    op: Op
    described: Described
    seconds: float


def _rows(networks: Iterable[Measured]) -> Iterator[_Row]:
    times: dict[Described, list[float]] = defaultdict(list)
    ops: dict[Described, Op] = {}
    for network in networks:
        for op, described, seconds in zip(network.workload.ops, network.described, network.sample.op_s, strict=True):
            if seconds:
                times[described].append(seconds)
                ops.setdefault(described, op)
    for described, seconds_of in times.items():
        yield _Row(ops[described], described, median(seconds_of))


def _quantile(values: Sequence[float], q: float, otherwise: float) -> float:
    return float(np.quantile(values, q)) if len(values) else otherwise


def _arrays(model: Any) -> Forest:
    """scikit-learn's trees as plain arrays. Its nodes are private to it; a test compares both predictions."""
    roots, parts, nodes = [], [], 0
    for (tree,) in model._predictors:
        roots.append(nodes)
        parts.append((tree.nodes, nodes))
        nodes += len(tree.nodes)
    leaf = np.concatenate([n["is_leaf"] for n, _ in parts]).astype(bool)
    return Forest(
        base=float(np.ravel(model._baseline_prediction)[0]),
        roots=np.array(roots, dtype=np.int32),
        feature=np.where(leaf, -1, np.concatenate([n["feature_idx"] for n, _ in parts])).astype(np.int32),
        threshold=np.where(leaf, 0.0, np.concatenate([n["num_threshold"] for n, _ in parts])),
        left=np.concatenate([n["left"] + offset for n, offset in parts]).astype(np.int32),
        right=np.concatenate([n["right"] + offset for n, offset in parts]).astype(np.int32),
        value=np.concatenate([n["value"] for n, _ in parts]),
    )


def _fresh_s_per_byte(rows: Sequence[_Row]) -> float:
    """What newly mapped memory takes at first touch, beyond what other results of ops without products take.

    On a CPU, memory of large results comes from the operating system each time; a GPU's allocator keeps it, so that
    nothing is found there.
    """
    large = [row for row in rows if row.op.kind not in CONTRACTIONS and row.op.bytes_moved > _LARGE]
    fresh = [(row, new) for row in large if (new := fresh_bytes(row.op))]
    if len(fresh) < _FEW or len(large) - len(fresh) < _FEW:
        return 0.0
    usual = median(row.op.bytes_moved / row.seconds for row in large if not fresh_bytes(row.op))
    return max(0.0, median((row.seconds - row.op.bytes_moved / usual) / new for row, new in fresh))


def _group(rows: Sequence[_Row], bare: OpTimes) -> OpGroup:
    """One group's peak and its trees."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    peak = None
    if rows[0].op.kind in CONTRACTIONS:
        heavy = [row for row in rows if row.op.flops > 1e6] or rows
        peak = _quantile([row.op.flops / row.seconds for row in heavy], 0.95, 0.0) or None
    target = np.array([math.log(row.seconds / bare.roofline_s(row.op, peak)) for row in rows])
    names: dict[str, list[float]] = defaultdict(list)
    for row, y in zip(rows, target, strict=True):
        names[row.described.name].append(float(y))
    mean = float(target.mean())
    offsets = {name: (fmean(ys) - mean) * len(ys) / (len(ys) + _SHRINK) for name, ys in names.items()}
    features = np.array([(offsets[row.described.name], *row.described.features) for row in rows])
    if len(rows) < 2 * _TREES["min_samples_leaf"]:
        one = np.zeros(1, dtype=np.int32)
        forest = Forest(mean, one[:0], one[:0], np.zeros(0), one[:0], one[:0], np.zeros(0))
    else:
        forest = _arrays(HistGradientBoostingRegressor(**_TREES).fit(features, target))
    low, high = features[:, 1:].min(axis=0), features[:, 1:].max(axis=0)
    return OpGroup(peak, offsets, tuple(low.tolist()), tuple(high.tolist()), forest)


def learn_ops(networks: Sequence[Measured]) -> OpTimes:
    """The times of ops, learned from `networks`; overheads are none yet."""
    rows = list(_rows(networks))
    large = [row.op.bytes_moved / row.seconds for row in rows if row.op.bytes_moved > 1e6]
    small = [row.seconds for row in rows if row.op.bytes_moved < 2e4]
    bandwidth = _quantile(large, 0.95, 1e10)
    launch_s = _quantile(small, 0.1, 1e-6)
    by_group: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        by_group[row.described.group].append(row)
    bare = OpTimes(bandwidth, launch_s, {}, {}, 1.0, fresh_s_per_byte=_fresh_s_per_byte(rows))
    groups = {name: _group(members, bare) for name, members in by_group.items()}
    logs = [math.log(row.seconds / bare.roofline_s(row.op, groups[row.described.group].flop_per_s)) for row in rows]
    return replace(bare, groups=groups, unseen_spread=float(np.std(logs)) if logs else 1.0)


def unseen_predictions(networks: Sequence[Measured]) -> list[Floats]:
    """Seconds of every op of every network, predicted from the other networks (in `FOLDS` parts)."""
    predicted: list[Floats] = [np.zeros(0)] * len(networks)
    for fold in range(FOLDS):
        kept = [network for i, network in enumerate(networks) if i % FOLDS != fold]
        times = learn_ops(kept or networks)
        for i in range(fold, len(networks), FOLDS):
            predicted[i] = seconds_of(times, networks[i])
    return predicted


def seconds_of(times: OpTimes, network: Measured) -> Floats:
    """Seconds of a network's ops; by the bare roofline where no op of a group was seen."""
    seconds = times.predict(network.workload, network.described).seconds
    for i in np.flatnonzero(np.isnan(seconds)).tolist():
        seconds[i] = times.roofline_s(network.workload.ops[i], None)
    return seconds


def group_sums(network: Measured, predicted: Floats) -> dict[str, tuple[float, float]]:
    """Predicted and measured seconds of each group of ops in a network, over the ops that were timed."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for one, mine, theirs in zip(network.described, predicted.tolist(), network.sample.op_s, strict=True):
        if theirs and mine > 0:
            sums[one.group][0] += mine
            sums[one.group][1] += theirs
    return {name: (mine, theirs) for name, (mine, theirs) in sums.items()}


def group_spreads(networks: Sequence[Measured], predicted: Sequence[Floats]) -> dict[str, float]:
    """How far each group's time in a network is missed where the network was not seen.

    Root mean square over networks of log(measured / predicted), each weighed by the group's share of the network.
    """
    logs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for network, seconds in zip(networks, predicted, strict=True):
        sums = group_sums(network, seconds)
        whole_s = sum(theirs for _, theirs in sums.values())
        for name, (mine, theirs) in sums.items():
            logs[name].append((math.log(theirs / mine), theirs / whole_s))
    return {
        name: math.sqrt(sum(w * e * e for e, w in of) / (sum(w for _, w in of) or 1.0)) for name, of in logs.items()
    }


# ---- what phases take beside their ops


@dataclass(frozen=True)
class _PhaseRow:
    ops_s: float
    ops: int
    module_calls: int
    measured_s: float
    share: float
    """Of the whole batch: an error in the phase is so much of an error in the whole."""


def _phase_rows(networks: Sequence[Measured], predicted: Sequence[Floats]) -> Mapping[Place, list[_PhaseRow]]:
    rows: dict[Place, list[_PhaseRow]] = {place: [] for place in PLACES}
    for network, seconds in zip(networks, predicted, strict=True):
        sums: dict[Phase, float] = defaultdict(float)
        counts: dict[Phase, int] = defaultdict(int)
        for op, s in zip(network.workload.ops, seconds.tolist(), strict=True):
            sums[op.phase] += s
            counts[op.phase] += 1
        for phase, measured_s in network.sample.phases.items():
            if counts[phase]:
                calls = network.workload.module_calls if phase == "forward" else 0
                share = measured_s / network.sample.total_s
                row = _PhaseRow(sums[phase], counts[phase], calls, measured_s, share)
                rows[place_of(phase, network.training)].append(row)
    return rows


_US = 1e-6
_BOUNDS: Mapping[Place, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "inference": ((0.8, -8, 0, 0), (1.2, 8, 20, 50)),
    "forward": ((0.8, -8, 0, 0), (1.2, 8, 20, 50)),
    "backward": ((0.8, -8, 0, 0), (1.2, 8, 1e-9, 50)),
    "optimizer": ((0.8, -8, 0, 0), (1.2, 60, 1e-9, 200)),
}
"""Of the scale, and of microseconds per op (the timer's own cost may be taken off), per module call and per phase."""


_ROUNDS, _WIDTH = 20, 0.1


def _robust(columns: Floats, counts: Floats, low: Sequence[float], high: Sequence[float]) -> Floats:
    """x with log(columns x) close to 0 in every row; rows far off count less (Geman and McClure's weights).

    Errors are multiplied by `counts` before they are squared. Logarithms, by Gauss-Newton steps, since (columns x - 1)
    squared punishes what is too long more than what is too short, and predicts 2-5% too little where measurements
    scatter by 20%.
    """
    x = lsq_linear(columns * counts[:, None], counts, bounds=(low, high)).x
    for _ in range(_ROUNDS):
        predicted = np.maximum(columns @ x, 1e-9)
        error = np.log(predicted)
        weight = counts / np.sqrt(1 + (error / _WIDTH) ** 2)
        x = lsq_linear(columns * (weight / predicted)[:, None], (1 - error) * weight, bounds=(low, high)).x
    return np.asarray(x)


def _columns(rows: Sequence[_PhaseRow]) -> Floats:
    """What a phase may be made of, as shares of what was measured: its ops, and a microsecond per op, call, phase."""
    columns = np.array([(r.ops_s, r.ops * _US, r.module_calls * _US, _US) for r in rows], dtype=np.float64)
    shares: Floats = columns / np.array([[r.measured_s] for r in rows])
    return shares


def _shares(rows: Sequence[_PhaseRow]) -> Floats:
    return np.array([row.share for row in rows])


def learn_overheads(networks: Sequence[Measured], predicted: Sequence[Floats]) -> dict[Place, Overhead]:
    """What each phase takes beside its ops, on a device that runs ops as they are called (a CPU)."""
    overheads: dict[Place, Overhead] = {}
    for place, rows in _phase_rows(networks, predicted).items():
        if len(rows) < 4:
            overheads[place] = Overhead()
            continue
        scale, op, call, phase = _robust(_columns(rows), _shares(rows), *_BOUNDS[place]).tolist()
        overheads[place] = Overhead(scale, op * _US, call * _US, phase * _US)
    return overheads


_HOST_BOUND = 1.1
"""A phase that lasts so much longer than its ops on the device waited for the host."""


def learn_host(networks: Sequence[Measured], predicted: Sequence[Floats]) -> dict[Place, Overhead]:
    """What the host takes to launch each phase, on a device that runs behind it (a GPU), and the ops' common factor.

    A phase lasts as long as the slower of the two: phases far longer than their ops tell the host's cost, the others
    the device's.
    """
    overheads: dict[Place, Overhead] = {}
    for place, rows in _phase_rows(networks, predicted).items():
        waits = [row for row in rows if row.measured_s > _HOST_BOUND * row.ops_s]
        works = [row for row in rows if row.measured_s <= _HOST_BOUND * row.ops_s]
        scale = median(row.measured_s / row.ops_s for row in works) if len(works) >= 4 else 1.0
        op = call = phase = 0.0
        if len(waits) >= 4:
            columns = _columns(waits)[:, 1:]
            op, call, phase = _robust(columns, _shares(waits), (0, 0, 0), (500, 500, 5000)).tolist()
        overheads[place] = Overhead(min(max(scale, 0.5), 2.0), op * _US, call * _US, phase * _US)
    return overheads
