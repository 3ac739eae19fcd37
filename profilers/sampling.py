"""A thread that looks at the meters in mid-window, and stops when told to, whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

SHORTEST_PERIOD_S = 0.005
"""The thread never looks more often than this, whatever a meter asks."""


class Sampled(Protocol):
    """What is looked at: a `Take`."""

    @property
    def period_s(self) -> float:
        """How soon to look next: asked at the start, and after every look."""

    def sample(self) -> None:
        """Look."""


class Sampler:
    """Looks at each at its own period, in one daemon thread, between `start` and `stop`."""

    def __init__(self, sampled: Sequence[Sampled], clock: Callable[[], float] = time.perf_counter) -> None:
        self._sampled = list(sampled)
        self._clock = clock
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self.broke_off = False
        """True where a look raised: nothing was sampled after that. The traceback went to stderr."""

    def start(self) -> None:
        """Start looking; with nothing to look at there is no thread."""
        if self._sampled:
            self._thread = threading.Thread(target=self._run, name="profilers-sampler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop looking; no look is under way afterwards. It may be called twice."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        self.broke_off = True
        due = [self._clock() + _period_s(one) for one in self._sampled]
        while not self._done.wait(max(0.0, min(due) - self._clock())):
            now = self._clock()
            for index, one in enumerate(self._sampled):
                if due[index] <= now:
                    one.sample()
                    after, period_s = self._clock(), _period_s(one)
                    due[index] = due[index] + period_s if due[index] + period_s > after else after + period_s
        self.broke_off = False


def _period_s(sampled: Sampled) -> float:
    return max(sampled.period_s, SHORTEST_PERIOD_S)
