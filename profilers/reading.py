"""What one meter says of one component in one window: a status, joules or the reason why there are none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

Status = Literal["measured", "integrated", "modelled", "absent"]
"""measured: the difference of an energy counter. integrated: power readings summed over time. modelled: computed from
load and TDP, no sensor involved. absent: nothing is known, and `reason` says why."""

Kind = Literal["gpu", "package", "dram", "platform", "cpu", "memory"]

STATUSES: tuple[Status, ...] = get_args(Status)

MINIMUM_REFRESHES = 10
"""A window must span this many refreshes of its counter, or the edges alone would be over 10% of it."""


@dataclass(frozen=True)
class Component:
    """A part of the machine whose energy a meter reads. `refresh_s`: how often its counter changes, if known."""

    name: str
    kind: Kind
    meter: str
    device: str | None = None
    refresh_s: float | None = None
    in_total: bool = True
    """False where another component holds the same joules: `psys` holds the packages."""
    driver: str | None = None
    """The version of what reads it: the GPU driver, or the modelling package."""

    @property
    def minimum_window_s(self) -> float:
        """The shortest window that this component's counter can tell, in seconds."""
        return MINIMUM_REFRESHES * (self.refresh_s or 0.0)


@dataclass(frozen=True)
class Conditions:
    """The state of a device at one moment, as far as it is readable."""

    temperature_c: float | None = None
    clock_hz: float | None = None
    memory_clock_hz: float | None = None
    power_limit_w: float | None = None


@dataclass(frozen=True)
class CrossCheck:
    """A counter beside the integral of power over the same window, both in joules."""

    counter_j: float
    integrated_j: float
    bound: float
    """The relative difference above which the two disagree."""

    @property
    def relative_difference(self) -> float:
        """(integrated - counter) / counter."""
        return (self.integrated_j - self.counter_j) / self.counter_j

    @property
    def agrees(self) -> bool:
        """Whether the two are within the bound of each other."""
        return abs(self.relative_difference) <= self.bound


@dataclass(frozen=True)
class Partial:
    """What was read before a component went silent: joules from the window's start until `until_s` after it."""

    energy_j: float
    until_s: float


@dataclass(frozen=True)
class Reading:
    """One component in one window. `energy_j` is None if and only if the status is absent, and never 0."""

    component: Component
    status: Status
    duration_s: float
    energy_j: float | None = None
    uncertainty_j: float | None = None
    """What the window's edges may hide, and, where power was integrated, the longest time without a look at it. Not the
    sensor's own error."""
    reason: str | None = None
    notes: tuple[str, ...] = ()
    cross_check: CrossCheck | None = None
    partial: Partial | None = None
    conditions: tuple[Conditions, ...] = field(default=())
    """At the window's start and end."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"unknown status {self.status!r}")
        if not (math.isfinite(self.duration_s) and self.duration_s >= 0):
            raise ValueError(f"a window cannot last {self.duration_s} s")
        if (self.energy_j is None) != (self.status == "absent"):
            raise ValueError(f"{self.status} and {self.energy_j} J contradict each other")
        if self.status == "absent" and not self.reason:
            raise ValueError("an absent reading says why")
        if self.energy_j is not None and not (math.isfinite(self.energy_j) and self.energy_j > 0):
            raise ValueError(f"{self.energy_j} J is not an energy")
        if self.partial is not None and not (math.isfinite(self.partial.energy_j) and self.partial.energy_j >= 0):
            raise ValueError(f"{self.partial.energy_j} J is not an energy")

    @property
    def power_w(self) -> float | None:
        """The mean power of the window in watts."""
        return None if self.energy_j is None or self.duration_s <= 0 else self.energy_j / self.duration_s


def absent(
    component: Component,
    duration_s: float,
    reason: str,
    *,
    partial: Partial | None = None,
    notes: tuple[str, ...] = (),
    conditions: tuple[Conditions, ...] = (),
) -> Reading:
    """A reading that says why there is none."""
    return Reading(component, "absent", duration_s, reason=reason, partial=partial, notes=notes, conditions=conditions)


def too_short(component: Component, duration_s: float) -> str | None:
    """The sentence that refuses a window shorter than its counter can tell, or None."""
    if duration_s >= component.minimum_window_s:
        return None
    return (
        f"the window of {duration_s:.3g} s is shorter than {MINIMUM_REFRESHES} refreshes of the counter "
        f"({component.refresh_s:.3g} s each): measure at least {component.minimum_window_s:.3g} s, or use "
        "measure_repeatedly, which repeats the work until the window is long enough"
    )
