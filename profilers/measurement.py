"""A window measured: readings, totals that never mix what was measured with what was modelled, idle baseline, noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from profilers.fingerprint import Fingerprint
from profilers.load import Load
from profilers.reading import Reading, Status


@dataclass(frozen=True)
class Baseline:
    """What the machine drew doing nothing: watts per component name, from an idle window of `duration_s`."""

    power_w: Mapping[str, float]
    duration_s: float


@dataclass(frozen=True)
class Noise:
    """How equal repeated windows were: sample standard deviation over mean, and whether the bound was met."""

    repeats: int
    relative_deviation: float | None
    bound: float

    @property
    def within_bound(self) -> bool:
        """Whether the deviation is known and under the bound."""
        return self.relative_deviation is not None and self.relative_deviation <= self.bound


@dataclass(frozen=True)
class Total:
    """A sum over components of one boundary, with its weakest status."""

    energy_j: float | None
    status: Status
    components: tuple[str, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """One window, observed. Nothing here was predicted."""

    duration_s: float
    readings: tuple[Reading, ...]
    label: str = ""
    baseline: Baseline | None = None
    load: Load | None = None
    """What else the machine did in the window; None where nobody looked."""
    busy_allowed: bool = False
    fingerprint: Fingerprint | None = None
    noise: Mapping[str, Noise] = field(default_factory=dict)
    """Per component name, where the window is one of several equal ones."""
    interrupted: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.duration_s) and self.duration_s >= 0):
            raise ValueError(f"a window cannot last {self.duration_s} s")

    @property
    def busy(self) -> tuple[str, ...]:
        """What else was going on, if it was too much."""
        return () if self.load is None else self.load.busy

    @property
    def clean(self) -> bool:
        """Whether nothing else was seen to run and the window was not cut short: what a calibration may use."""
        return not self.busy and self.interrupted is None

    def reading(self, name: str) -> Reading | None:
        """The reading of a component by its name."""
        return next((reading for reading in self.readings if reading.component.name == name), None)

    @property
    def total(self) -> Total:
        """Joules read from sensors. None where a component that belongs to it is absent: a part is not the whole.

        The status is `integrated` as soon as one part is. Modelled joules are never in it.
        """
        return _total([reading for reading in self.readings if reading.status != "modelled"])

    @property
    def modelled(self) -> Total:
        """Joules that a model made up from load and TDP: no sensor was involved."""
        return _total([reading for reading in self.readings if reading.status == "modelled"])

    def net_j(self, name: str) -> float | None:
        """A component's joules above the idle baseline: energy - idle power x duration.

        None where either is unknown or the difference is not positive: then the work does not stand out from idling.
        """
        reading = self.reading(name)
        if reading is None or reading.energy_j is None or self.baseline is None or name not in self.baseline.power_w:
            return None
        net_j = reading.energy_j - self.baseline.power_w[name] * reading.duration_s
        return net_j if net_j > 0 else None


def relative_deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation over mean; None for fewer than two values."""
    return stdev(values) / fmean(values) if len(values) > 1 and fmean(values) > 0 else None


def baseline_of(idle: Measurement) -> Baseline:
    """The idle power of every component that a window without work could read."""
    powers = {reading.component.name: reading.power_w for reading in idle.readings}
    return Baseline({name: power_w for name, power_w in powers.items() if power_w is not None}, idle.duration_s)


def _total(readings: Sequence[Reading]) -> Total:
    counted = [reading for reading in readings if reading.component.in_total]
    known = {reading.component.name: reading.energy_j for reading in counted if reading.energy_j is not None}
    missing = tuple(reading.component.name for reading in counted if reading.energy_j is None)
    if not known or missing:
        return Total(None, "absent", tuple(known), missing)
    statuses = {reading.status for reading in counted}
    weakest = next(status for status in ("modelled", "integrated", "measured") if status in statuses)
    return Total(math.fsum(known.values()), weakest, tuple(known))
