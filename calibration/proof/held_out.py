"""Predictions for published rows by coefficients that have not seen them, with intervals from held-out errors alone.

Two splits: a network (of torchvision: a family) left out of everything, the device-independent coefficients included;
and a whole device left out. A row's interval comes from the held-out errors of the OTHER networks, or devices
(cross-conformal prediction; Vovk 2015, and Barber et al. 2021 for the sets that are left out in turn). Devices are few:
`spread_of_devices` says what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.learning.spreads import spread_of, spread_of_devices
from calibration.proof.baselines import BASELINES, PARAMETERS, THETA, linear, theta_of
from calibration.proof.scores import Case
from calibration.published.coefficients import COEFFICIENTS, kind_of, machines
from calibration.published.left_out import (
    TARGETS,
    HeldOut,
    Target,
    devices_left_out,
    errors,
    errors_by_device,
    measured,
    networks_left_out,
)
from calibration.published.network_rows import is_network
from calibration.published.rows import Row
from estimator.energy.uncertainty import log_normal
from estimator.hardware import catalogue
from estimator.hardware.datasheet import profile_of

NETWORK, FAMILY = "network left out", "family left out"


@dataclass(frozen=True)
class _Split:
    """How rows were left out: what else of them counts for a row's interval, and what a baseline may be fitted on."""

    name: str
    held: Sequence[HeldOut]
    spread: Callable[[Sequence[HeldOut], Target], float]
    relevant: Callable[[HeldOut, HeldOut], bool]
    seen: Callable[[HeldOut, Row], bool]


def dataset_of(row: Row) -> str:
    """Machine, phase and, of files without joules, their source, in words."""
    source = row.sort[1]
    named = row.phase if row.energy_j is not None or not is_network(row) else f"{source} {row.phase}"
    return f"{catalogue.find(row.device).title} {named}"


def _case(h: HeldOut, target: Target, split: str, method: str, predicted: float, spread: float | None = None) -> Case:
    interval = None if spread is None else log_normal(predicted, spread)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Case(dataset_of(h.row), target, split, method, h.measured(target) or 0.0, predicted, low, high)


def _ours(split: _Split, known: Sequence[HeldOut], target: Target) -> Iterator[Case]:
    for h in known:
        spread = split.spread([o for o in split.held if split.relevant(h, o)], target)
        yield _case(h, target, split.name, "joulecast", h.value(target), spread)


def _theirs(split: _Split, known: Sequence[HeldOut], target: Target, rows: Sequence[Row]) -> Iterator[Case]:
    for method, features in BASELINES.items():
        for h in known:
            if method == PARAMETERS and h.row.parameters is None:
                continue
            seen = [row for row in rows if split.seen(h, row) and measured(row, target)]
            if seen:
                costs = np.array([measured(row, target) for row in seen])
                yield _case(h, target, split.name, method, float(linear(seen, costs, [h.row], features)[0]))
    for h in known:
        fivefold = theta_of(h.row, rows) if target == "energy" and h.row.phase == "training" else None
        if fivefold is not None:
            yield _case(h, target, split.name, f"theta = {THETA:g}", fivefold)


def _cases(split: _Split, rows: Sequence[Row]) -> Iterator[Case]:
    for dataset in dict.fromkeys(dataset_of(h.row) for h in split.held):
        for target in TARGETS:
            known = [h for h in split.held if dataset_of(h.row) == dataset and h.measured(target) is not None]
            families = split.name == NETWORK and all(h.row.model.startswith("torchvision/") for h in known)
            named = replace(split, name=FAMILY) if families else split
            yield from _ours(named, known, target)
            yield from _theirs(named, known, target, rows)


def _compared(row: Row) -> tuple[bool, str]:
    """Rows whose errors say something of each other: networks in one phase, or single operations of one sort."""
    return is_network(row), row.phase


def _by_device(held: Sequence[HeldOut]) -> _Split:
    return _Split(
        "device left out",
        held,
        lambda of, target: spread_of_devices(errors_by_device(of, target)),
        lambda h, o: o.group != h.group,
        lambda h, row: row.phase == h.row.phase and row.device != h.group,
    )


def cases(rows: Sequence[Row], ops: Sequence[Row] = ()) -> Iterator[Case]:
    """Ours and the baselines' predictions for all `rows`, in both splits, and for single `ops`, by device."""
    for kind in COEFFICIENTS:
        of_kind, beside = [row for row in rows if kind_of(row) == kind], ops if kind == "gpu" else ()
        by_device = devices_left_out(of_kind, kind, beside)
        few = {target: spread_of(errors(by_device, target)) for target in TARGETS}

        def of_networks(held: Sequence[HeldOut], target: Target, few: Mapping[Target, float] = few) -> float:
            return spread_of(errors(held, target), few[target])

        yield from _cases(
            _Split(
                NETWORK,
                networks_left_out(of_kind, kind, beside),
                of_networks,
                lambda h, o: dataset_of(o.row) == dataset_of(h.row) and o.group != h.group,
                lambda h, row: dataset_of(row) == dataset_of(h.row) and row.network != h.group,
            ),
            of_kind,
        )
        yield from _cases(_by_device(by_device), of_kind)
        held = devices_left_out(beside, kind, of_kind)
        for like in dict.fromkeys(map(_compared, beside)):
            yield from _cases(
                _by_device([h for h in held if _compared(h.row) == like]),
                [row for row in beside if _compared(row) == like],
            )


def shipped(rows: Sequence[Row]) -> Iterator[Case]:
    """Predictions of the profiles as the product ships them: the machine's own, else its spec sheet's."""
    for machine in machines(rows):
        first = machine.rows[0]
        profile = profile_of(catalogue.find(first.device), first.clock_hz)
        split = f"as shipped ({profile.status})"
        joules, seconds = machine.predict_with(profile.model)
        for row, energy, duration in zip(machine.rows, joules, seconds, strict=True):
            h = HeldOut(row, "", float(energy), float(duration))
            spreads = profile.model.spreads
            training = spreads.training if row.phase == "training" else 0.0
            for target in TARGETS:
                spread = math.hypot(getattr(spreads, target), training)
                if h.measured(target) is not None:
                    yield _case(h, target, split, "joulecast", h.value(target), spread)
