"""Ex post: what really was drawn, read from sensors, or said not to have been read.

from profilers import find_meters, measure
with measure(find_meters().meters) as window:
    work()
print(window.measurement.total.energy_j)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profilers.discovery import find_meters
    from profilers.errors import BusyError, MeterError
    from profilers.load import LoadPolicy
    from profilers.measurement import Baseline, Measurement
    from profilers.reading import Component, Reading
    from profilers.record import Run
    from profilers.session import Plan, Series, measure, measure_idle, measure_repeatedly

_WHERE = {
    "Baseline": "profilers.measurement",
    "BusyError": "profilers.errors",
    "Component": "profilers.reading",
    "LoadPolicy": "profilers.load",
    "Measurement": "profilers.measurement",
    "MeterError": "profilers.errors",
    "Plan": "profilers.session",
    "Reading": "profilers.reading",
    "Run": "profilers.record",
    "Series": "profilers.session",
    "find_meters": "profilers.discovery",
    "measure": "profilers.session",
    "measure_idle": "profilers.session",
    "measure_repeatedly": "profilers.session",
}

__all__ = [
    "Baseline",
    "BusyError",
    "Component",
    "LoadPolicy",
    "Measurement",
    "MeterError",
    "Plan",
    "Reading",
    "Run",
    "Series",
    "find_meters",
    "measure",
    "measure_idle",
    "measure_repeatedly",
]


def __getattr__(name: str) -> Any:
    """Load the public names on first use."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
