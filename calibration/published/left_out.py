"""Published rows predicted by coefficients that have not seen them: their network, or their whole device, left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calibration.published.coefficients import fit, predictions
from calibration.published.rows import Row, family_of
from calibration.published.stated import DeviceKind

Target = Literal["energy", "duration"]
TARGETS: tuple[Target, ...] = ("energy", "duration")


def measured(row: Row, target: Target) -> float | None:
    """What was measured, in J or s; None where nobody did."""
    return row.energy_j if target == "energy" else row.duration_s


@dataclass(frozen=True)
class HeldOut:
    """A row and what was predicted for it by coefficients that had not seen it; `group` was left out with it."""

    row: Row
    group: str
    energy_j: float
    duration_s: float

    def value(self, target: Target) -> float:
        """What was predicted."""
        return self.energy_j if target == "energy" else self.duration_s

    def measured(self, target: Target) -> float | None:
        """What was measured; None where nobody did."""
        return measured(self.row, target)

    def log_error(self, target: Target) -> float | None:
        """log(predicted / measured)."""
        truth = measured(self.row, target)
        return None if truth is None else float(np.log(self.value(target) / truth))


def errors_by_device(held: Iterable[HeldOut], target: Target) -> list[list[float]]:
    """The log errors of each device's rows."""
    by: dict[str, list[HeldOut]] = {}
    for h in held:
        by.setdefault(h.row.device, []).append(h)
    return [errors(of, target) for of in by.values()]


MOST = 16
"""Rows of one sort that are fitted where something is left out: such fits are many, and rows of a sort alike."""


def thinned(rows: Sequence[Row]) -> list[Row]:
    """At most `MOST` rows of each sort, evenly drawn."""
    by: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        by.setdefault(row.sort, []).append(row)
    return [row for of in by.values() for row in of[:: math.ceil(len(of) / MOST)]]


def _held_out(rows: Sequence[Row], groups: Sequence[str], model: dict[str, float], group: str) -> Iterator[HeldOut]:
    unseen = [row for row, of in zip(rows, groups, strict=True) if of == group]
    for row, joules, seconds in zip(unseen, *predictions(unseen, model), strict=True):
        yield HeldOut(row, group, float(joules), float(seconds))


def networks_left_out(rows: Sequence[Row], kind: DeviceKind, beside: Sequence[Row] = ()) -> list[HeldOut]:
    """Each machine's rows of each network, predicted by its other networks; the prior has not seen that one either.

    `beside`: rows of other sources, which the prior sees too, but for those of the same family.
    """
    found: list[HeldOut] = []
    for network in dict.fromkeys(row.network for row in rows):
        seen = [row for row in rows if row.network != network]
        prior = fit([*seen, *thinned([row for row in beside if row.family != family_of(network)])], kind)
        for device in dict.fromkeys(row.device for row in rows if row.network == network):
            own = [row for row in seen if row.device == device]
            mine = [row for row in rows if row.device == device]
            model = fit(own, kind, prior) if own else prior
            found += _held_out(mine, [row.network for row in mine], model, network)
    return found


def devices_left_out(rows: Sequence[Row], kind: DeviceKind, beside: Sequence[Row] = ()) -> list[HeldOut]:
    """Each device's rows, predicted by the device-independent coefficients of the other devices, `beside` them too."""
    found: list[HeldOut] = []
    devices = [row.device for row in rows]
    for device in dict.fromkeys(devices) if len(set(devices)) > 1 else ():
        model = fit(thinned([row for row in (*rows, *beside) if row.device != device]), kind)
        found += _held_out(rows, devices, model, device)
    return found


def errors(held: Iterable[HeldOut], target: Target) -> list[float]:
    """The log errors of those whose `target` was measured."""
    return [error for error in (h.log_error(target) for h in held) if error is not None]
