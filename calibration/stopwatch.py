"""Marks in time, where an op runs: on the host's clock (CPU), or in the stream of a GPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch

WAIT_S = 1.2e-4
"""How long a GPU is kept waiting ahead of a timed op: longer than the host takes to queue the op and its marks."""


class Stopwatch(Protocol):
    """Sets marks, and tells the seconds between them once the work is done."""

    def ready(self) -> None:
        """See to it that what comes next is not held up by what calls it."""

    def mark(self) -> Any:
        """A mark behind all that was started before it."""

    def seconds(self, marks: Sequence[tuple[Any, Any]]) -> list[float]:
        """Seconds from the first to the second mark of each pair; waits for the device."""

    def synchronize(self) -> None:
        """Wait until the device has done all that was started."""


class HostClock:
    """For devices that run an op while it is called."""

    def ready(self) -> None:
        """Nothing to wait for."""

    def mark(self) -> float:
        """Monotonic seconds."""
        return time.perf_counter()

    def seconds(self, marks: Sequence[tuple[float, float]]) -> list[float]:
        """Differences."""
        return [end - start for start, end in marks]

    def synchronize(self) -> None:
        """Nothing runs on."""


class CudaEvents:
    """For CUDA: events in the current stream. `cuda` is `torch.cuda` or its like.

    An event pair around an op would also hold the time in which the GPU waited for the host to launch it. `ready`
    therefore lets the GPU spin for `WAIT_S`, in which the host queues the op and both its marks.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device, self._cuda = device, cuda
        clock_khz = getattr(cuda.get_device_properties(device), "clock_rate", None) or 1.5e6
        self._cycles = int(WAIT_S * clock_khz * 1e3)

    def ready(self) -> None:
        """Queue a wait on the GPU."""
        self._cuda._sleep(self._cycles)

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


def stopwatch_of(device: str) -> Stopwatch:
    """The stopwatch for a torch device ("cpu", "cuda:0")."""
    return CudaEvents(torch.device(device)) if device.startswith("cuda") else HostClock()
