"""One GPU's sensors behind NVML: joules, watts, temperature and clocks, in SI units; None where it has none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

from profilers.gpu.visible import Gpu
from profilers.reading import Conditions

PowerSource = Literal["instant", "average"]

FIELD_POWER_INSTANT = 186
"""NVML_FI_DEV_POWER_INSTANT in nvml.h, for bindings that do not name it."""


class SensorError(Exception):
    """The driver answered with an error, or with what is no reading."""


class GpuSensor:
    """Reads one GPU. `nvml` is the pynvml module or its like. Errors of the driver become `SensorError`."""

    def __init__(self, nvml: Any, gpu: Gpu) -> None:
        self._nvml = nvml
        self.gpu = gpu
        self._field = getattr(nvml, "NVML_FI_DEV_POWER_INSTANT", FIELD_POWER_INSTANT)
        self.has_counter = _works(self.counter_j)
        self.power_source: PowerSource | None = (
            "instant" if _works(self._instant_w) else "average" if _works(self._average_w) else None
        )

    def counter_j(self) -> float:
        """Joules since the driver was loaded (nvmlDeviceGetTotalEnergyConsumption, mJ; Volta and newer)."""
        return _number(self._ask("nvmlDeviceGetTotalEnergyConsumption")) / 1e3

    def power_w(self) -> float:
        """Watts now: instantaneous where the GPU tells it, else its own average (over 1 s on most since Ampere)."""
        return self._instant_w() if self.power_source == "instant" else self._average_w()

    def conditions(self) -> Conditions:
        """Temperature, clocks and power limit, as far as they are readable."""
        nvml = self._nvml
        return Conditions(
            temperature_c=self._optional("nvmlDeviceGetTemperature", getattr(nvml, "NVML_TEMPERATURE_GPU", 0)),
            clock_hz=self._optional("nvmlDeviceGetClockInfo", getattr(nvml, "NVML_CLOCK_SM", 1), scale=1e6),
            memory_clock_hz=self._optional("nvmlDeviceGetClockInfo", getattr(nvml, "NVML_CLOCK_MEM", 2), scale=1e6),
            power_limit_w=self._optional("nvmlDeviceGetEnforcedPowerLimit", scale=1e-3),
        )

    def pids(self) -> frozenset[int]:
        """Process ids with compute work on the GPU, in the driver's own numbering."""
        try:
            processes = self._ask("nvmlDeviceGetComputeRunningProcesses")
            return frozenset(int(process.pid) for process in processes)
        except (SensorError, AttributeError, TypeError, ValueError):
            return frozenset()

    def utilization(self) -> float | None:
        """The share of the last sample period (1/6 to 1 s) in which a kernel ran."""
        try:
            return _number(self._ask("nvmlDeviceGetUtilizationRates").gpu) / 100
        except (SensorError, AttributeError):
            return None

    def _instant_w(self) -> float:
        values = self._ask("nvmlDeviceGetFieldValues", [self._field])
        try:
            value = values[0]
            if value.nvmlReturn != 0:
                raise SensorError(f"NVML has no instantaneous power (error {value.nvmlReturn})")
            return _number(_field_value(self._nvml, value)) / 1e3
        except (AttributeError, IndexError, TypeError) as error:
            raise SensorError(f"NVML answered no field value ({error})") from error

    def _average_w(self) -> float:
        return _number(self._ask("nvmlDeviceGetPowerUsage")) / 1e3

    def _ask(self, function: str, *arguments: Any) -> Any:
        call = getattr(self._nvml, function, None)
        if call is None:
            raise SensorError(f"this pynvml has no {function}: upgrade nvidia-ml-py")
        try:
            return call(self.gpu.handle, *arguments)
        except self._nvml.NVMLError as error:
            raise SensorError(f"NVML error: {error}") from error

    def _optional(self, function: str, *arguments: Any, scale: float = 1.0) -> float | None:
        try:
            return _number(self._ask(function, *arguments)) * scale
        except SensorError:
            return None


def refresh_period_s(
    read: Callable[[], float],
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    *,
    within_s: float = 1.0,
    polls_s: float = 0.001,
) -> tuple[float | None, tuple[float, ...]]:
    """How often a reading changes, by polling it: the median time between changes, and those times, in seconds.

    None where fewer than two changes were seen `within_s`. Raises `SensorError` as `read` does.
    """
    ends_s = clock() + within_s
    last, changes = read(), []
    while clock() < ends_s:
        sleep(polls_s)
        value = read()
        if value != last:
            changes.append(clock())
            last = value
    gaps = sorted(after - before for before, after in pairwise(changes))
    return (gaps[len(gaps) // 2] if gaps else None), tuple(gaps)


def _works(read: Callable[[], float]) -> bool:
    try:
        read()
    except SensorError:
        return False
    return True


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SensorError(f"NVML answered {value!r}, which is no number") from error
    if not math.isfinite(number) or number < 0:
        raise SensorError(f"NVML answered {number}, which cannot be")
    return number


def _field_value(nvml: Any, value: Any) -> Any:
    """The member of NVML's union of numbers that its type says."""
    members = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
    return getattr(value.value, members.get(int(value.valueType), "ullVal"))
