"""Power over time: the trapezoid rule, kept as a running sum so that a window of days needs no memory."""

from __future__ import annotations

import math

PLAUSIBLE_POWER_W = 20_000.0
"""No single device of today draws this; a reading above it is damage, not power."""


class PowerIntegral:
    """Joules from readings of watts: sum of (p[i-1] + p[i]) / 2 * (t[i] - t[i-1])."""

    def __init__(self) -> None:
        self.energy_j = 0.0
        self.jumps_j = 0.0
        """Half of every jump between two readings, for as long as they are apart."""
        self.samples = 0
        self.rejected = 0
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.last_w = 0.0
        self.longest_gap_s = 0.0

    def add(self, at_s: float, power_w: float) -> None:
        """Add a reading; one that is not a power, or goes back in time, is counted in `rejected` and left out."""
        if not (math.isfinite(power_w) and 0 <= power_w <= PLAUSIBLE_POWER_W and math.isfinite(at_s)):
            self.rejected += 1
            return
        if self.last_s is not None:
            elapsed_s = at_s - self.last_s
            if elapsed_s < 0:
                self.rejected += 1
                return
            self.energy_j += (self.last_w + power_w) / 2 * elapsed_s
            self.jumps_j += abs(power_w - self.last_w) / 2 * elapsed_s
            self.longest_gap_s = max(self.longest_gap_s, elapsed_s)
        else:
            self.first_s = at_s
        self.last_s, self.last_w = at_s, power_w
        self.samples += 1

    def unread_s(self, started_s: float, stopped_s: float) -> float:
        """The longest time without a reading between two moments, both edges included."""
        if self.first_s is None or self.last_s is None:
            return max(0.0, stopped_s - started_s)
        return max(self.longest_gap_s, self.first_s - started_s, stopped_s - self.last_s)
