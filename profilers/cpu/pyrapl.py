"""pyRAPL as a second opinion on RAPL, where it works: one die per package, and no wrap inside the window.

It reads /sys/class/powercap itself. It cannot tell a wrap from a reset, so a counter that went down is absent here; on
packages with several dies it fails to start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from profilers.cpu.rapl import REFRESH_S
from profilers.errors import MeterError
from profilers.meter import Activity
from profilers.reading import Component, Reading, absent, too_short


class PyRaplMeter:
    """Packages and DRAM as pyRAPL reads them. For comparison only: it is not added to other meters."""

    name = "pyrapl"

    def __init__(self, pyrapl: Any = None, clock: Callable[[], float] = time.perf_counter) -> None:
        """`pyrapl`: the pyRAPL package or its like; None imports it."""
        if pyrapl is None:
            try:
                pyrapl = import_module("pyRAPL")
            except ImportError as error:
                raise MeterError("pyRAPL is not installed: pip install 'joulecast[rapl]'") from error
        self._clock = clock
        try:
            self._sensor = pyrapl.Sensor()
            self._sockets = len(self._sensor.energy()) // 2
        except (pyrapl.PyRAPLException, OSError, ValueError, IndexError) as error:
            said = f": {error}" if str(error) else ""
            raise MeterError(
                f"pyRAPL cannot read this machine ({type(error).__name__}{said}): use the meter `rapl` instead"
            ) from error

    def components(self) -> tuple[Component, ...]:
        """A package and its DRAM per socket."""
        return tuple(
            part
            for socket in range(self._sockets)
            for part in (
                Component(f"package-{socket}", "package", self.name, refresh_s=REFRESH_S, in_total=False),
                Component(f"dram-{socket}", "dram", self.name, refresh_s=REFRESH_S, in_total=False),
            )
        )

    def prepare(self) -> PyRaplTake:
        """A window."""
        return PyRaplTake(self.components(), self._sensor, self._clock)

    def activity(self) -> Activity | None:
        """None: the load of CPUs is looked at by `profilers.load`."""
        return None


class PyRaplTake:
    """One window of pyRAPL's sensor."""

    period_s = 60.0

    def __init__(self, components: Sequence[Component], sensor: Any, clock: Callable[[], float]) -> None:
        self._components, self._sensor, self._clock = components, sensor, clock
        self._before: list[float] | None = None
        self._after: list[float] | None = None
        self._started_s = self._stopped_s = 0.0

    def start(self) -> None:
        """First reading."""
        self._started_s, self._before = self._clock(), self._read()

    def sample(self) -> None:
        """pyRAPL has nothing to do in mid-window."""

    def stop(self) -> None:
        """Last reading."""
        self._stopped_s, self._after = self._clock(), self._read()

    def readings(self) -> tuple[Reading, ...]:
        """One reading per package and DRAM."""
        duration_s = max(0.0, self._stopped_s - self._started_s)
        return tuple(self._reading(index, component, duration_s) for index, component in enumerate(self._components))

    def _read(self) -> list[float] | None:
        try:
            return [float(value) for value in self._sensor.energy()]
        except (OSError, ValueError):
            return None

    def _reading(self, index: int, component: Component, duration_s: float) -> Reading:
        if self._before is None or self._after is None:
            return absent(component, duration_s, "pyRAPL could not read its files")
        before, after = self._before[index], self._after[index]
        if before < 0 or after < 0:
            return absent(component, duration_s, "pyRAPL has no such zone")
        if after <= before:
            return absent(component, duration_s, "the counter went down or stood still, and pyRAPL corrects no wrap")
        reason = too_short(component, duration_s)
        if reason is not None:
            return absent(component, duration_s, reason)
        return Reading(component, "measured", duration_s, (after - before) / 1e6)
