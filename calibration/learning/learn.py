"""Learn the times of ops from measured networks (`estimator.energy.op_times` says what of).

Per group of ops, a ridge regression and boosted trees learn log(measured / roofline), once what first touch of memory
took is taken off.
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

from calibration.measuring.samples import Sample
from estimator.energy.columns import fresh_bytes
from estimator.energy.forest import Forest
from estimator.energy.op_features import Described, describe
from estimator.energy.op_times import OpGroup, OpTimes
from estimator.workload.ops import CONTRACTIONS, Op, Workload

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
_LINEAR, _PENALTIES = 0.5, np.logspace(-1, 3, 9)
"""The part of a ridge regression that is kept, and penalties to choose from. On random networks left out of two noisy
records, half of it brought the mean error of trainings from 16.0 to 14.9 and from 13.4 to 13.3%, that of recurrent
networks from 31 to 26 and from 24 to 23%; all of it makes convolutions worse (15.0 to 16.9, 16.5 to 16.8)."""

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
    """An op as it was measured. `mapped`: bytes of memory that it touched for the first time.

    Where they cannot be counted, they are those that `fresh_bytes` expects.
    """

    op: Op
    described: Described
    seconds: float
    mapped: float = 0.0


def _rows(networks: Iterable[Measured]) -> Iterator[_Row]:
    for network in networks:
        counted = network.sample.op_mapped or tuple(map(fresh_bytes, network.workload.ops))
        ops = zip(network.workload.ops, network.described, network.sample.op_s, counted, strict=True)
        yield from (_Row(op, one, s, mapped) for op, one, s, mapped in ops if s and mapped is not None)


_SURE = 0.02
"""No group's time is known better (of its log) than a measurement repeats on a quiet machine: a group that by luck
was never missed would make margins without bound."""

_LEAST = 0.3
"""Of an op's time, what is left at least when first touch is taken off: neither is known well where both are large."""


def _without_touch(rows: Iterable[_Row], touch_s_per_byte: float) -> Iterator[_Row]:
    """Every different op once, with the median of what it took apart from first touch."""
    times: dict[Described, list[float]] = defaultdict(list)
    ops: dict[Described, Op] = {}
    for row in rows:
        net_s = row.seconds - touch_s_per_byte * row.mapped
        times[row.described].append(max(net_s, _LEAST * row.seconds))
        ops.setdefault(row.described, row.op)
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


def _touch_s_per_byte(rows: Sequence[_Row]) -> float:
    """What touching memory for the first time takes, beyond what other ops without products take for their bytes.

    On a CPU, memory of large results comes from the operating system each time; a GPU's allocator keeps it, so that
    nothing is found there.
    """
    large = [row for row in rows if row.op.kind not in CONTRACTIONS and row.op.bytes_moved > _LARGE]
    touching = [row for row in large if row.mapped > 0.1 * row.op.bytes_moved]
    others = [row for row in large if row.mapped < 0.01 * row.op.bytes_moved]
    if len(touching) < _FEW or len(others) < _FEW:
        return 0.0
    usual = median(row.op.bytes_moved / row.seconds for row in others)
    return max(0.0, median((row.seconds - row.op.bytes_moved / usual) / row.mapped for row in touching))


def _slopes(features: Floats, target: Floats) -> Floats:
    """Half of what a ridge regression finds: trees alone are coarse steps where little was measured."""
    from sklearn.linear_model import RidgeCV

    scale = features.std(axis=0)
    scale[scale == 0] = 1.0
    ridge = RidgeCV(_PENALTIES).fit((features - features.mean(axis=0)) / scale, target)
    slopes: Floats = _LINEAR * ridge.coef_ / scale
    return slopes


def _group(rows: Sequence[_Row], bare: OpTimes) -> OpGroup:
    """One group's peak, its slopes and its trees."""
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
    slopes = np.zeros(features.shape[1])
    if len(rows) < 2 * _TREES["min_samples_leaf"]:
        one = np.zeros(1, dtype=np.int32)
        forest = Forest(mean, one[:0], one[:0], np.zeros(0), one[:0], one[:0], np.zeros(0))
    else:
        slopes = _slopes(features, target)
        forest = _arrays(HistGradientBoostingRegressor(**_TREES).fit(features, target - features @ slopes))
    low, high, slopes_of = (tuple(row.tolist()) for row in (features.min(axis=0), features.max(axis=0), slopes))
    return OpGroup(peak, offsets, low, high, slopes_of, forest)


def learn_ops(networks: Sequence[Measured]) -> OpTimes:
    """The times of ops, learned from `networks`; overheads are none yet."""
    measured = list(_rows(networks))
    touch_s_per_byte = _touch_s_per_byte(measured)
    rows = list(_without_touch(measured, touch_s_per_byte))
    large = [row.op.bytes_moved / row.seconds for row in rows if row.op.bytes_moved > 1e6]
    small = [row.seconds for row in rows if row.op.bytes_moved < 2e4]
    bandwidth = _quantile(large, 0.95, 1e10)
    launch_s = _quantile(small, 0.1, 1e-6)
    by_group: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        by_group[row.described.group].append(row)
    bare = OpTimes(bandwidth, launch_s, {}, {}, 1.0, fresh_s_per_byte=touch_s_per_byte)
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
        op = network.workload.ops[i]
        seconds[i] = times.roofline_s(op, None) + times.fresh_s_per_byte * fresh_bytes(op)
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
        name: max(_SURE, math.sqrt(sum(w * e * e for e, w in of) / (sum(w for _, w in of) or 1.0)))
        for name, of in logs.items()
    }
