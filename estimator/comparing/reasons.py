"""Why one row of a comparison costs more than the best: it takes longer, draws more, or runs on a dirtier grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from estimator.comparing.compare import Comparison, Row
from estimator.energy.pricing import Bound

Cause = Bound | Literal["power", "grid"]


@dataclass(frozen=True)
class Reason:
    """What most of a row's difference from the best is, and how much of it, from 0 to 1.

    "compute", "memory" and "launch": the part of the extra seconds that waits for it. "power" and "grid" (watts at
    the facility, CO2e per kWh): the part of the ratio's logarithm.
    """

    cause: Cause
    share: float


def reasons(comparison: Comparison) -> tuple[Reason | None, ...]:
    """The reason of each row; None for the best, and for what costs no more than it."""
    return tuple(_reason(row, comparison.rows[0], comparison.by_carbon) for row in comparison.rows)


def _reason(row: Row, best: Row, by_carbon: bool) -> Reason | None:
    ours, theirs = row.total, best.total
    longer = _log_ratio(ours.duration_s.value, theirs.duration_s.value)
    power = _log_ratio(ours.energy_j.value, theirs.energy_j.value) - longer
    causes: dict[Literal["power", "grid"], float] = {"power": power}
    if by_carbon:
        grids = (stage.intensity.carbon_intensity_kg_per_kwh for stage in (ours, theirs))
        causes["grid"] = _log_ratio(*grids)
    cause = max(causes, key=lambda name: causes[name])
    if longer + sum(causes.values()) <= 0:
        return None
    if causes[cause] > longer:
        return Reason(cause, causes[cause] / sum(part for part in (longer, *causes.values()) if part > 0))
    extra_s = _seconds_beyond(row, best)
    bound = max(extra_s, key=lambda name: extra_s[name])
    return Reason(bound, extra_s[bound] / sum(extra_s.values()))


def _log_ratio(a: float, b: float) -> float:
    """log(a / b); 0 where one of them is 0, and no ratio tells anything."""
    return math.log(a / b) if a > 0 and b > 0 else 0.0


def _seconds_beyond(row: Row, best: Row) -> dict[Bound, float]:
    """How much longer than `best` the row waits for each bound, in seconds; 0 where it does not."""
    ours_s, theirs_s = row.total.duration_s.value, best.total.duration_s.value
    theirs = best.bound_shares
    return {
        bound: max(0.0, ours_s * share - theirs_s * theirs.get(bound, 0.0)) for bound, share in row.bound_shares.items()
    }
