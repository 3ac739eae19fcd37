"""How quiet the machine was: the load average, and how evenly a fixed loop runs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from statistics import median, quantiles

from benchmarks.figure import seconds

NOISY = 0.05
"""A spread, or a drift, of the spin loop beyond which figures are not to be trusted."""


@dataclass(frozen=True)
class Noise:
    """The machine at one moment. `spread`: the interquartile range of the loop's times over their median."""

    load_average: float
    loop_s: float
    spread: float


def _spin() -> int:
    total = 0
    for i in range(200_000):
        total += i & 3
    return total


def observe() -> Noise:
    """Time the same loop 25 times, after a warm-up."""
    seconds(_spin)
    times = [seconds(_spin) for _ in range(25)]
    low, _, high = quantiles(times, n=4)
    return Noise(os.getloadavg()[0], median(times), (high - low) / median(times))


def summary(before: Noise, after: Noise) -> str:
    """Both moments in two lines."""
    drift = after.loop_s / before.loop_s - 1
    noisy = max(before.spread, after.spread, abs(drift)) > NOISY
    return (
        f"machine: {os.cpu_count()} cores, Python {platform.python_version()}; load average {before.load_average:.2f} "
        f"before, {after.load_average:.2f} after\n"
        f"noise: a fixed loop spread by {before.spread:.1%} before, {after.spread:.1%} after; its time changed "
        f"by {drift:+.1%}: {'NOISY, so read the figures as indications' if noisy else 'quiet'}"
    )
