"""Marks in time, where an op runs: on the host's clock (CPU), or in the stream of a GPU."""

from __future__ import annotations

import mmap
import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch

try:
    import resource
except ImportError:  # not on Windows: page faults are not counted there
    resource = None  # type: ignore[assignment]

WAIT_S, LONGEST_WAIT_S = 1.2e-4, 1e-2
"""How long a GPU is kept waiting ahead of a timed op, at least and at most."""

_SPARE = 1.5
"""It waits so many times as long as the host took the last time."""


class Stopwatch(Protocol):
    """Sets marks, and tells the seconds between them once the work is done."""

    def ready(self, host_s: float = 0.0) -> None:
        """See to it that what comes next is not held up by what calls it; `host_s`: what that took the last time."""

    def mark(self) -> Any:
        """A mark behind all that was started before it."""

    def seconds(self, marks: Sequence[tuple[Any, Any]]) -> list[float]:
        """Seconds from the first to the second mark of each pair; waits for the device."""

    def synchronize(self) -> None:
        """Wait until the device has done all that was started."""

    def mapped_bytes(self) -> int:
        """Memory that the process has touched for the first time, so far; 0 where that takes no time of the device."""


class HostClock:
    """For devices that run an op while it is called."""

    def ready(self, host_s: float = 0.0) -> None:
        """Nothing to wait for."""

    def mark(self) -> float:
        """Monotonic seconds."""
        return time.perf_counter()

    def seconds(self, marks: Sequence[tuple[float, float]]) -> list[float]:
        """Differences."""
        return [end - start for start, end in marks]

    def synchronize(self) -> None:
        """Nothing runs on."""

    def mapped_bytes(self) -> int:
        """Page faults that needed no disk (getrusage(2), ru_minflt), in bytes."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt * mmap.PAGESIZE if resource else 0


class CudaEvents:
    """For CUDA: events in the current stream. `cuda` is `torch.cuda` or its like.

    An event pair around an op would also hold the time in which the GPU waited for the host to launch it. `ready`
    therefore lets the GPU spin for longer than the host takes to queue the op and both its marks.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device, self._cuda = device, cuda
        cuda.set_device(device)  # events and waits go to the current device
        clock_khz = getattr(cuda.get_device_properties(device), "clock_rate", None) or 1.5e6
        self._clock_hz = 1e3 * clock_khz

    def ready(self, host_s: float = 0.0) -> None:
        """Queue a wait on the GPU."""
        self._cuda._sleep(int(min(max(WAIT_S, _SPARE * host_s), LONGEST_WAIT_S) * self._clock_hz))

    def mark(self) -> Any:
        """A recorded event."""
        event = self._cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, marks: Sequence[tuple[Any, Any]]) -> list[float]:
        """CUDA's own times between events."""
        self.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in marks]

    def synchronize(self) -> None:
        """`torch.cuda.synchronize`."""
        self._cuda.synchronize(self._device)

    def mapped_bytes(self) -> int:
        """0: PyTorch's allocator keeps the memory of a GPU."""
        return 0


def stopwatch_of(device: str) -> Stopwatch:
    """The stopwatch for a torch device ("cpu", "cuda:0")."""
    return CudaEvents(torch.device(device)) if device.startswith("cuda") else HostClock()
