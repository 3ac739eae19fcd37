"""What ops would have taken at the machine's usual pace: as far as each group follows `calibration.measuring.pace`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from calibration.learning.learn import Measured, group_sums, learn_ops, seconds_of
from estimator.workload.ops import Phase

Floats = NDArray[np.float64]

_ERROR, _APART = 0.25, 0.3
"""How far a group's time in a network is missed (of its log), and how far groups differ in what slows them: standard
deviations, which weigh what is measured of a group against what all have in common."""

_MOST = 1.2
"""Nothing is slowed by much more than the work that tells it."""


def usual_pace_s(networks: Sequence[Measured]) -> tuple[float, ...]:
    """Medians of the pace (seconds of each piece of work); empty where it was never told."""
    told = [network.sample.pace_s for network in networks if network.sample.pace_s]
    return tuple(np.median(told, axis=0).tolist()) if told else ()


def _deviations(networks: Sequence[Measured]) -> Floats:
    """How much slower than usual the machine was at each network (of the log); 0 where it was not told."""
    usual = np.log(usual_pace_s(networks))
    return np.array([np.log(n.sample.pace_s) - usual if n.sample.pace_s else 0 * usual for n in networks])


def _unseen(networks: Sequence[Measured]) -> list[Floats]:
    """Seconds of every op, each half of the networks predicted from the other."""
    predicted: list[Floats] = [np.zeros(0)] * len(networks)
    for half in (0, 1):
        times = learn_ops(networks[1 - half :: 2])
        for i in range(half, len(networks), 2):
            predicted[i] = seconds_of(times, networks[i])
    return predicted


def _slowed(deviations: Floats, errors: Floats, weights: Floats, common: Floats) -> Floats:
    """By how much the errors follow the deviations; drawn to what is `common` where few say."""
    root, count, drawn = np.sqrt(weights), deviations.shape[1], _ERROR / _APART
    measured = np.column_stack([deviations, np.ones(len(errors))]) * root[:, None]  # and what is missed anyway
    rows = np.concatenate([measured, drawn * np.eye(count, count + 1)])
    target = np.concatenate([errors * root, drawn * common])
    bounds = ([0.0] * count + [-np.inf], [_MOST] * count + [np.inf])
    return np.asarray(lsq_linear(rows, target, bounds).x[:count])


def sensitivities(networks: Sequence[Measured]) -> tuple[Floats, Mapping[str, Floats]]:
    """How far every network's pace was off (networks x pieces of work), and how much each group of ops follows that."""
    deviations, found = _deviations(networks), defaultdict[str, list[tuple[int, float, float]]](list)
    if not deviations.any():
        return deviations, {}
    for i, (network, seconds) in enumerate(zip(networks, _unseen(networks), strict=True)):
        sums = group_sums(network, seconds)
        whole_s = sum(theirs for _, theirs in sums.values())
        for name, (mine, theirs) in sums.items():
            found[name].append((i, float(np.clip(np.log(theirs / mine), -1, 1)), theirs / whole_s))

    def fitted(of: Sequence[tuple[int, float, float]], common: Floats) -> Floats:
        at, errors, weights = (np.array(column) for column in zip(*of, strict=True))
        return _slowed(deviations[at], errors, weights, common)

    common = fitted([one for of in found.values() for one in of], np.zeros(deviations.shape[1]))
    return deviations, {name: fitted(of, common) for name, of in found.items()}


def at_usual_pace(networks: Sequence[Measured]) -> list[Measured]:
    """The networks with the times that they would have taken at the machine's usual (median) pace."""
    deviations, follow = sensitivities(networks)
    return [_at_usual_pace(n, d, follow) for n, d in zip(networks, deviations, strict=True)] if follow else [*networks]


def _at_usual_pace(network: Measured, deviation: Floats, follow: Mapping[str, Floats]) -> Measured:
    none = np.zeros(len(deviation))
    factors = [float(np.exp(-follow.get(one.group, none) @ deviation)) for one in network.described]
    op_s = tuple(s and s * f for s, f in zip(network.sample.op_s, factors, strict=True))
    before, after = defaultdict[Phase, float](float), defaultdict[Phase, float](float)
    for op, s, steady_s in zip(network.workload.ops, network.sample.op_s, op_s, strict=True):
        before[op.phase] += s or 0.0
        after[op.phase] += steady_s or 0.0
    phases = {p: s * (after[p] / before[p] if before[p] else 1.0) for p, s in network.sample.phases.items()}
    total_s = network.sample.total_s * sum(phases.values()) / sum(network.sample.phases.values())
    return replace(network, sample=replace(network.sample, op_s=op_s, phases=phases, total_s=total_s))
