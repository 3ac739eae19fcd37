"""codecarbon as the meter of last resort: where no sensor answers, what load and TDP suggest, MODELLED."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from profilers.errors import MeterError
from profilers.meter import Activity
from profilers.reading import Component, Reading, absent

J_PER_KWH = 3.6e6

WORD = "modelled by codecarbon from load and TDP: no sensor was read"

_QUIET: dict[str, Any] = {
    "output_methods": [],
    "log_level": "critical",
    "country_iso_code": "USA",
    "emissions_endpoint": None,
    "electricitymaps_api_token": None,
    "force_carbon_intensity_g_co2e_kwh": 1.0,
    "allow_multiple_runs": True,
    "tracking_mode": "machine",
    "force_mode_cpu_load": True,
    "pue": 1.0,
}
"""Nothing written, nothing sent, nothing asked of the network. Country and carbon intensity are placeholders, so that
it looks nowhere for them: only its joules are used. The load model is forced, so that the word `modelled` is true."""


class ModelledMeter:
    """The CPU and memory of this machine, as codecarbon models them. GPUs are left to NVML."""

    name = "codecarbon"

    def __init__(self, codecarbon: Any = None, clock: Callable[[], float] = time.perf_counter) -> None:
        """`codecarbon`: the package or its like; None imports it when the first window is prepared."""
        self._codecarbon, self._clock = codecarbon, clock

    def components(self) -> tuple[Component, ...]:
        """CPU and memory."""
        try:
            known = version("codecarbon")
        except PackageNotFoundError:
            known = None
        return (
            Component("cpu", "cpu", self.name, driver=known),
            Component("memory", "memory", self.name, driver=known),
        )

    def prepare(self) -> ModelledTake:
        """Import codecarbon (seconds) and let it look at the machine."""
        if self._codecarbon is None:
            try:
                self._codecarbon = import_module("codecarbon")
            except ImportError as error:
                raise MeterError("codecarbon is not installed: pip install codecarbon") from error
        return ModelledTake(self.components(), self._codecarbon, self._clock)

    def activity(self) -> Activity | None:
        """None: the load of CPUs is looked at by `profilers.load`."""
        return None


class ModelledTake:
    """One window of codecarbon's offline tracker."""

    period_s = 60.0

    def __init__(self, components: tuple[Component, ...], codecarbon: Any, clock: Callable[[], float]) -> None:
        self._components, self._clock = components, clock
        self._started_s = self._stopped_s = 0.0
        with _silence():
            self._tracker = codecarbon.OfflineEmissionsTracker(**_QUIET)
            ready = getattr(self._tracker, "_ensure_hardware_ready", None)
            if ready is not None:
                ready()

    def start(self) -> None:
        """Start the tracker."""
        with _silence():
            self._tracker.start()
        self._started_s = self._clock()

    def sample(self) -> None:
        """codecarbon has a thread of its own."""

    def stop(self) -> None:
        """Stop the tracker."""
        self._stopped_s = self._clock()
        with _silence():
            self._tracker.stop()

    def readings(self) -> tuple[Reading, ...]:
        """CPU and memory, modelled."""
        data = getattr(self._tracker, "final_emissions_data", None)
        duration_s = max(0.0, self._stopped_s - self._started_s)
        return tuple(
            _reading(component, getattr(data, field, None), duration_s)
            for component, field in zip(self._components, ("cpu_energy", "ram_energy"), strict=True)
        )


def _reading(component: Component, energy_kwh: Any, duration_s: float) -> Reading:
    try:
        return Reading(component, "modelled", duration_s, float(energy_kwh) * J_PER_KWH, notes=(WORD,))
    except (TypeError, ValueError):
        return absent(component, duration_s, f"codecarbon gave {energy_kwh!r} kWh, which is no energy")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """codecarbon logs and warns; only its number is wanted."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
