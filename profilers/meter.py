"""The hardware edge: what every meter can do. Everything behind it is plain functions and frozen facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from profilers.reading import Component, Reading


@dataclass(frozen=True)
class Activity:
    """Who uses a device just now: process ids, and the busiest device's utilisation from 0 to 1, if readable."""

    pids: frozenset[int] = frozenset()
    utilization: float | None = None


@runtime_checkable
class Take(Protocol):
    """One window of one meter. The order is start, sample as often as wanted, stop, readings."""

    @property
    def period_s(self) -> float:
        """How soon `sample` must be called next, in seconds: asked after `start`, and again after every look."""

    def start(self) -> None:
        """Take the first reading. It may wait for the counter's next refresh, so that the window starts on an edge."""

    def sample(self) -> None:
        """Look in mid-window, from the sampling thread: integrate power, catch a wrap, notice what vanished."""

    def stop(self) -> None:
        """Take the last reading, at once."""

    def readings(self) -> tuple[Reading, ...]:
        """One reading per component of the meter, right after `stop`. It may wait for the counter's next refresh."""


@runtime_checkable
class Meter(Protocol):
    """A source of joules: hardware counters, power readings, a model, or a record."""

    @property
    def name(self) -> str:
        """A short name, such as `nvml`."""

    def components(self) -> tuple[Component, ...]:
        """What this meter reads."""

    def prepare(self) -> Take:
        """All that must happen before the first reading: opening files, importing, learning the refresh period."""

    def activity(self) -> Activity | None:
        """Who uses the metered device now; None where the meter cannot tell."""
