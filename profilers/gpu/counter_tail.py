"""A counter's steps as polling finds them, and what the first of them after a window still holds of the window."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from profilers.integral import PLAUSIBLE_POWER_W, PowerIntegral


@dataclass(frozen=True)
class Step:
    """A change of a counter, half way between the two looks that it lies between."""

    at_s: float
    between_s: float
    """The time between those looks."""
    before_j: float
    after_j: float

    @property
    def plausible(self) -> bool:
        """Whether the counter went up, and by no more than a device can draw."""
        return 0 < self.after_j - self.before_j <= PLAUSIBLE_POWER_W * (self.between_s + 1.0)


class Steps:
    """Finds a counter's steps by polling it."""

    def __init__(self) -> None:
        self.found: list[Step] = []
        self.last_s = 0.0
        self.last_j: float | None = None

    def add(self, at_s: float, counter_j: float) -> None:
        """Add a look."""
        if self.last_j is not None and counter_j != self.last_j:
            between_s = max(0.0, at_s - self.last_s)
            self.found.append(Step(at_s - between_s / 2, between_s, self.last_j, counter_j))
        self.last_s, self.last_j = at_s, counter_j


class Tail:
    """What was drawn between a counter's last step in a window and the window's end.

    The next step holds it, together with what was drawn after the end. Three accounts tell the two apart, and each
    takes something for granted:

    - the sensor's: the power read from the end to that step is what was drawn then. A sensor that is refreshed as
      seldom as the counter still tells the work's power after the work.
    - the next step's: from the end on, power was what it was between that step and the one after: the work is over.
    - the last look's: for one refresh before that step and up to the end, power was what it was at the end.

    Where any two of them hold, the middle one is right. How far the others are from it is how sure it is.
    """

    def __init__(self, ended_s: float, counter_j: float, power_w: float | None, refresh_s: float) -> None:
        """`power_w`: at the end; None without a power sensor."""
        self._ended_s, self._power_w, self._refresh_s = ended_s, power_w, refresh_s
        self._steps, self._power = Steps(), PowerIntegral()
        self._steps.add(ended_s, counter_j)
        if power_w is not None:
            self._power.add(ended_s, power_w)

    def add(self, at_s: float, counter_j: float, power_w: float | None) -> None:
        """Add a look after the end."""
        if power_w is not None and not self._steps.found:
            self._power.add(at_s, power_w)
        self._steps.add(at_s, counter_j)

    @property
    def complete(self) -> bool:
        """Whether there is nothing to wait for: two steps were seen, or one that is none."""
        return len(self._steps.found) > 1 or not all(step.plausible for step in self._steps.found)

    def energy_j(self) -> tuple[float, float] | None:
        """The joules, and how far off they may be; None where the counter did not step after the end."""
        if not self._steps.found or not self._steps.found[0].plausible:
            return None
        step, *later = self._steps.found
        held_j, since_s = step.after_j - step.before_j, step.at_s - self._ended_s
        accounts = []
        if self._power.last_s is not None and self._power.last_s >= step.at_s:
            accounts.append(held_j - self._power.energy_j)
        if later and later[0].plausible:
            accounts.append(held_j - since_s * (later[0].after_j - step.after_j) / (later[0].at_s - step.at_s))
        if self._power_w is not None:
            accounts.append(self._power_w * (self._refresh_s - since_s))
        possible = [min(max(0.0, account), held_j) for account in accounts] or [held_j / 2]
        tail_j = median(possible)
        doubt_j = max(abs(account - tail_j) for account in possible) if len(possible) > 1 else held_j
        located_j = held_j * min(1.0, step.between_s / self._refresh_s)
        return tail_j, min(held_j, doubt_j + located_j)
