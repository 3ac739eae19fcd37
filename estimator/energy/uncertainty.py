"""Honest error bars: an interval around every predicted value, and how it is carried through sums and products."""

from __future__ import annotations

import math
from dataclasses import dataclass

CONFIDENCE = 0.90
"""Share of outcomes that an interval is meant to hold."""

_Z = 1.6448536269514722  # the standard normal's 95% quantile: 5% beyond either end


@dataclass(frozen=True)
class Interval:
    """A predicted value with the ends of its 90% interval, all in one unit; low <= value <= high."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"an interval's value lies between its ends, not {self}")

    def __mul__(self, factor: float) -> Interval:
        """Scaled by a known factor, not negative."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    __rmul__ = __mul__

    def __add__(self, other: Interval) -> Interval:
        """The sum of two values predicted by ONE hardware profile: their errors go together, so ends add to ends."""
        return Interval(self.value + other.value, self.low + other.low, self.high + other.high)


def log_normal(value: float, spread: float) -> Interval:
    """The 90% interval of `value` when log(measured / predicted) has the standard deviation `spread`.

    Errors of a cost model are factors, not differences: a spread of 0.35 means from 0.56 to 1.78 times the value.
    """
    factor = math.exp(_Z * spread)
    return Interval(value, value / factor, value * factor)
