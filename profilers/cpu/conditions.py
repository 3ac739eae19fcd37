"""Temperature and clock of the CPU, where the operating system shows them."""

from __future__ import annotations

from typing import Any

from profilers.reading import Conditions

_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


def cpu_conditions() -> Conditions | None:
    """The hottest CPU sensor and the mean clock of the cores; None where neither is readable."""
    import psutil

    temperatures: Any = getattr(psutil, "sensors_temperatures", dict)
    try:
        by_chip = temperatures()
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError, ValueError):
        return None
    hottest = [sensor.current for name in _SENSORS for sensor in by_chip.get(name, ()) if sensor.current]
    clock_hz = frequency.current * 1e6 if frequency is not None and frequency.current else None
    if not hottest and clock_hz is None:
        return None
    return Conditions(temperature_c=max(hottest, default=None), clock_hz=clock_hz)
