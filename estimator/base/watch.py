"""An alarm for work that takes too much of the processor or of memory, which no count from outside can tell.

It rings between two instructions of the main thread, by the system's timer of processor time: `signal.ITIMER_PROF`,
where there is one and nobody else uses it. Resident memory is that of /proc; where there is none, only time is told.
What the import of a library takes is nobody's work here.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Literal

TICK_S = 0.05
"""Processor time between two looks."""

_AGAIN_TICKS = 20
"""After it rang, so many ticks until it rings again: what was interrupted has time to tidy up."""

What = Literal["seconds", "memory"]

_IMPORTING = "<frozen importlib._bootstrap>"
_STATM = Path("/proc/self/statm")


class Watch:
    """Calls `over` with "seconds" or "memory" once more is taken than allowed, counted from `start`; `over` raises."""

    def __init__(self, seconds: float, memory_bytes: float, over: Callable[[What], None]) -> None:
        self._seconds, self._memory_bytes, self._over = seconds, memory_bytes, over
        self._ticks, self._quiet_until = 0, 0
        self._before = self._last = 0
        self._running = False

    def start(self) -> None:
        """Begin, where that can be done: in the main thread, on a system with such a timer that is free."""
        timer, main = hasattr(signal, "setitimer"), threading.current_thread() is threading.main_thread()
        if self._running or not timer or not main or signal.getsignal(signal.SIGPROF) != signal.SIG_DFL:
            return
        self._running, self._before = True, _resident_bytes()
        self._last = self._before
        signal.signal(signal.SIGPROF, self._look)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, TICK_S, TICK_S)

    def stop(self) -> None:
        """End, and leave no trace."""
        if self._running:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            self._running = False

    def _look(self, signum: int, frame: FrameType | None) -> None:
        now = _resident_bytes()
        grown, self._last = now - self._last, now
        if _importing(frame):
            self._before += grown
            return
        self._ticks += 1
        if self._ticks < self._quiet_until:
            return
        if self._ticks * TICK_S > self._seconds:
            self._ring("seconds")
        elif now - self._before > self._memory_bytes:
            self._ring("memory")

    def _ring(self, what: What) -> None:
        self._quiet_until = self._ticks + _AGAIN_TICKS
        self._over(what)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported by what runs now."""
    while frame is not None and frame.f_code.co_filename != _IMPORTING:
        frame = frame.f_back
    return frame is not None


def _resident_bytes() -> int:
    """Memory of this process that is in use, 0 where the system does not tell it so."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
