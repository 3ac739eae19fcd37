"""Machines with known truth: a clock, a powercap tree in a directory, an NVML module."""

from __future__ import annotations

import builtins
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from profilers.meter import Meter, Take
from profilers.reading import Reading

RANGE_UJ = 262_143_328_850
"""max_energy_range_uj of a usual desktop package."""


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.passing: list[Callable[[float], None]] = []

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        for happens in self.passing:
            happens(seconds)


@dataclass
class Counter:
    """A hardware counter behind one or several zones."""

    power_w: float
    count_uj: float = 5_000_000.0
    range_uj: int = RANGE_UJ
    drawn_j: float = 0.0

    def advance(self, seconds: float) -> None:
        joules = self.power_w * seconds
        self.drawn_j += joules
        self.count_uj = (self.count_uj + joules * 1e6) % self.range_uj


class Tree:
    """A powercap tree, laid out as sysfs does: nested directories, and a flat row of links to every zone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.zones: dict[str, tuple[Path, Counter]] = {}
        (root / "intel-rapl").mkdir(parents=True)
        (root / "intel-rapl" / "subsystem").symlink_to(root)

    def add(self, zone_id: str, name: str, counter: Counter) -> Counter:
        parts = zone_id.split(":")
        path = self.root / parts[0]
        for depth in range(2, len(parts) + 1):
            path = path / ":".join(parts[:depth])
        path.mkdir(parents=True)
        (path / "name").write_text(name + "\n")
        (path / "max_energy_range_uj").write_text(f"{counter.range_uj}\n")
        (self.root / zone_id).symlink_to(path)
        self.zones[zone_id] = (path, counter)
        self._write(path, counter)
        return counter

    def advance(self, seconds: float) -> None:
        for counter in {id(counter): counter for _, counter in self.zones.values()}.values():
            counter.advance(seconds)
        for path, counter in self.zones.values():
            self._write(path, counter)

    def remove(self, zone_id: str) -> None:
        path, _ = self.zones.pop(zone_id)
        for file in path.iterdir():
            file.unlink()
        path.rmdir()

    def energy_file(self, zone_id: str) -> Path:
        return self.zones[zone_id][0] / "energy_uj"

    @staticmethod
    def _write(path: Path, counter: Counter) -> None:
        (path / "energy_uj").write_text(f"{int(counter.count_uj)}\n")


@contextlib.contextmanager
def denied(*paths: Path) -> Iterator[None]:
    """Nobody may read these files, root (as whom tests often run) included."""
    hidden = {os.path.realpath(path) for path in paths}
    opens, path_opens, access = builtins.open, Path.open, os.access

    def guarded(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "r" in mode and not isinstance(file, int) and os.path.realpath(file) in hidden:
            raise PermissionError(13, "Permission denied", str(file))
        return opens(file, mode, *arguments, **options)

    def guarded_access(path: Any, mode: int, **options: Any) -> bool:
        return os.path.realpath(path) not in hidden and access(path, mode, **options)

    builtins.open, Path.open, os.access = guarded, guarded, guarded_access  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        builtins.open, Path.open, os.access = opens, path_opens, access  # type: ignore[method-assign]


class SimulatedNvmlError(Exception):
    """The base of the driver's errors."""


class NotSupported(SimulatedNvmlError):
    def __str__(self) -> str:
        return "Not Supported"


class GpuIsLost(SimulatedNvmlError):
    def __str__(self) -> str:
        return "GPU is lost"


@dataclass
class SimulatedGpu:
    """A GPU whose power is a step function: (from second, watts), on the clock's own axis."""

    steps: Sequence[tuple[float, float]] = ((0.0, 100.0),)
    name: str = "NVIDIA Simulated"
    uuid: str = "GPU-aaaa1111-0000"
    refresh_s: float = 0.1
    counter: bool = True
    instant: bool = True
    average: bool = True
    lost_at_s: float = float("inf")
    reset_at_s: float = float("inf")
    power_refresh_s: float = 0.0
    """How often the power sensor is refreshed; 0 tells the present."""
    counter_error: float = 0.0
    """The counter's relative error, to make it disagree with power."""
    mig: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    utilization: int = 0
    counter_calls: int = field(default=0)
    power_calls: int = field(default=0)

    def power_w(self, at_s: float) -> float:
        return [watts for from_s, watts in self.steps if from_s <= at_s][-1]

    def counted_until_s(self, stepped_s: float) -> float:
        """Up to when the counter has counted, after its step of `stepped_s`."""
        return stepped_s

    def energy_j(self, until_s: float) -> float:
        """Joules since second 0."""
        ends = [*(from_s for from_s, _ in self.steps[1:]), float("inf")]
        pieces = zip(self.steps, ends, strict=True)
        return sum(max(0.0, min(end_s, until_s) - from_s) * watts for (from_s, watts), end_s in pieces)


class SimulatedNvml:
    """What profilers asks of pynvml."""

    NVMLError = SimulatedNvmlError
    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self, gpus: Sequence[SimulatedGpu], clock: Callable[[], float]) -> None:
        self.gpus = list(gpus)
        self.clock = clock

    def nvmlInit(self) -> None: ...

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"999.99"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimulatedGpu:
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        for gpu in self.gpus:
            if uuid in gpu.mig:
                return SimpleNamespace(parent=gpu)
        raise NotSupported

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: Any) -> SimulatedGpu:
        return handle.parent

    def nvmlDeviceGetMigMode(self, gpu: SimulatedGpu) -> list[int]:
        return [int(bool(gpu.mig))] * 2

    def nvmlDeviceGetUUID(self, gpu: SimulatedGpu) -> bytes:
        return gpu.uuid.encode()

    def nvmlDeviceGetName(self, gpu: SimulatedGpu) -> str:
        return gpu.name

    def _alive(self, gpu: SimulatedGpu) -> float:
        if self.clock() >= gpu.lost_at_s:
            raise GpuIsLost
        return self.clock()

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: SimulatedGpu) -> int:
        now_s = self._alive(gpu)
        gpu.counter_calls += 1
        if not gpu.counter:
            raise NotSupported
        stepped_s = gpu.counted_until_s(int(now_s / gpu.refresh_s + 1e-9) * gpu.refresh_s)
        since_s = gpu.reset_at_s if now_s >= gpu.reset_at_s else 0.0
        return int((gpu.energy_j(stepped_s) - gpu.energy_j(min(since_s, stepped_s))) * (1 + gpu.counter_error) * 1000)

    def nvmlDeviceGetFieldValues(self, gpu: SimulatedGpu, fields: Sequence[int]) -> list[Any]:
        now_s = self._alive(gpu)
        gpu.power_calls += 1
        stepped_s = int(now_s / gpu.power_refresh_s + 1e-9) * gpu.power_refresh_s if gpu.power_refresh_s else now_s
        milliwatts = int(gpu.power_w(stepped_s) * 1000)
        failed = 0 if gpu.instant and list(fields) == [186] else 3
        return [SimpleNamespace(nvmlReturn=failed, valueType=1, value=SimpleNamespace(uiVal=milliwatts))]

    def nvmlDeviceGetPowerUsage(self, gpu: SimulatedGpu) -> int:
        now_s = self._alive(gpu)
        if not gpu.average:
            raise NotSupported
        return int((gpu.energy_j(now_s) - gpu.energy_j(now_s - 1.0)) * 1000)

    def nvmlDeviceGetTemperature(self, gpu: SimulatedGpu, sensor: int) -> int:
        self._alive(gpu)
        return 45

    def nvmlDeviceGetClockInfo(self, gpu: SimulatedGpu, clock: int) -> int:
        self._alive(gpu)
        return 1980 if clock == 1 else 3201

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: SimulatedGpu) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in gpu.pids]

    def nvmlDeviceGetUtilizationRates(self, gpu: SimulatedGpu) -> Any:
        return SimpleNamespace(gpu=gpu.utilization)


def window(meter: Meter, clock: Clock, seconds: float) -> dict[str, Reading]:
    """One window of a meter on a simulated clock, sampled as the sampling thread would."""
    take = meter.prepare()
    sampled(take, clock, seconds)
    return {reading.component.name: reading for reading in take.readings()}


def sampled(take: Take, clock: Clock, seconds: float) -> float:
    """Start a window, sample it as the sampling thread would, stop it; when it ended."""
    take.start()
    ends_s = clock() + seconds
    while clock() + (period_s := take.period_s) < ends_s:
        clock.advance(period_s)
        take.sample()
    clock.advance(ends_s - clock())
    take.stop()
    return clock()
