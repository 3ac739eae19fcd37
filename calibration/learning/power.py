"""What a device draws, fitted on the joules of whole batches: factors on the terms that its spec sheet gives.

energy = static power x time + active power x busy time + energy per FLOP x FLOPs (by rate) + energy per byte x bytes
         + watts of a class of ops x the time in which they run

All terms are non-negative. Where the measurements say little, factors stay at 1 (the spec sheet's word) and watts at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from calibration.learning.learn import FOLDS, Measured
from calibration.learning.spreads import spread_of
from estimator.energy.columns import DTYPES, OP_CLASSES, Columns, OpClass, columns_of
from estimator.energy.model import EnergyModel
from estimator.hardware.calibrated_machine import HeldOutError, Power

Floats = NDArray[np.float64]

_NOISE = 0.03
"""Relative error of one measured energy that the fit allows for: windows of a second repeat to about that."""

_FREE = 1.0
"""How far a factor is let go from 1 (one standard deviation)."""

_CLASS_SHARE = 0.1
"""How far a class's extra watts are let go from 0, as a share of the device's power limit."""


@dataclass(frozen=True)
class _Terms:
    """Joules of every network by term, and the watts that a class's seconds are multiplied by."""

    names: tuple[str, ...]
    joules: Floats


def _watts(op_class: OpClass) -> str:
    """The name of the term of a class's watts: no class is taken for a rate of the same name."""
    return f"watts of {op_class}"


def _terms(networks: Sequence[Measured], seconds: Sequence[Floats], base: EnergyModel) -> _Terms:
    rates = sorted({base.rates.rate_of(c, d) for c in OP_CLASSES for d in DTYPES})
    names = ("static", "active", "byte", *rates, *map(_watts, OP_CLASSES))
    rows = []
    for network, busy in zip(networks, seconds, strict=True):
        columns = columns_of(network.workload)
        row = dict.fromkeys(names, 0.0)
        row["static"] = base.power.static_w * network.sample.total_s
        row["active"] = base.power.active_w * float(busy.sum())
        row["byte"] = base.memory.energy_per_byte_j * float(columns.bytes_moved.sum())
        for rate, joules in _flop_joules(columns, base).items():
            row[rate] += joules
        for index, name in enumerate(OP_CLASSES):
            row[_watts(name)] = float(busy[columns.op_class == index].sum())
        rows.append([row[name] for name in names])
    return _Terms(names, np.array(rows))


def _flop_joules(columns: Columns, base: EnergyModel) -> dict[str, float]:
    found: dict[str, float] = {}
    for c, op_class in enumerate(OP_CLASSES):
        for d, dtype in enumerate(DTYPES):
            flops = float(columns.flops[(columns.op_class == c) & (columns.dtype == d)].sum())
            rate = base.rates.rate_of(op_class, dtype)
            found[rate] = found.get(rate, 0.0) + base.rates.energy_per_flop_j[rate] * flops
    return found


def _fit(terms: _Terms, energies: Floats, base: EnergyModel, idle_w: float | None) -> Floats:
    """Non-negative weights of the terms, drawn to 1 (factors) and to 0 (watts of classes)."""
    count = len(terms.names)
    start, width = np.ones(count), np.full(count, _FREE)
    classes = [terms.names.index(_watts(name)) for name in OP_CLASSES]
    start[classes], width[classes] = 0.0, _CLASS_SHARE * base.power.limit_w
    if idle_w is not None and base.power.static_w > 0:
        start[0] = idle_w / base.power.static_w
        width[0] = 0.3 * start[0]  # awake but waiting, it draws somewhat more than asleep
    columns = np.concatenate([terms.joules / energies[:, None] / _NOISE, np.diag(1 / width)])
    target = np.concatenate([np.full(len(energies), 1 / _NOISE), start / width])
    return np.asarray(nnls(columns, target)[0])


def learn_power(
    networks: Sequence[Measured], seconds: Sequence[Floats], base: EnergyModel, idle_w: float | None
) -> Power | None:
    """Factors on the power terms of `base` from the networks whose joules were measured; None where too few were.

    `seconds`: of every op of every network, as predicted. Times are measured ones here, so that the errors are those
    of the power model alone.
    """
    known = [i for i, network in enumerate(networks) if network.sample.energy_j]
    if len(known) < 2 * FOLDS:
        return None
    measured = [networks[i] for i in known]
    terms = _terms(measured, [seconds[i] for i in known], base)
    energies = np.array([network.sample.energy_j for network in measured], dtype=np.float64)
    predicted = np.empty(len(energies))
    for fold in range(FOLDS):
        out = np.arange(len(energies)) % FOLDS == fold
        weights = _fit(_Terms(terms.names, terms.joules[~out]), energies[~out], base, idle_w)
        predicted[out] = terms.joules[out] @ weights
    ratio = np.maximum(predicted, 1e-12) / energies
    error = np.abs(ratio - 1)
    found = dict(zip(terms.names, _fit(terms, energies, base, idle_w).tolist(), strict=True))
    statuses = {network.sample.energy_status for network in measured}
    return Power(
        status="integrated" if "integrated" in statuses else "measured",
        factors={name: found[name] for name in terms.names if name not in map(_watts, OP_CLASSES)},
        class_w={name: found[_watts(name)] for name in OP_CLASSES},
        error=HeldOutError(
            len(energies), float(np.median(error)), float(error.mean()), spread_of(np.log(ratio).tolist())
        ),
    )
