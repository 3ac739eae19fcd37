"""A thread that looks at the meters in mid-window, and stops when told to, whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

SHORTEST_PERIOD_S = 0.005
"""The thread never looks more often than this, whatever a meter asks."""


class Sampler:
    """Calls each look at its own period, in one daemon thread, between `start` and `stop`."""

    def __init__(
        self, looks: Sequence[tuple[Callable[[], None], float]], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._looks = [(look, max(period_s, SHORTEST_PERIOD_S)) for look, period_s in looks]
        self._clock = clock
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self.broke_off = False
        """True where a look raised: nothing was sampled after that. The traceback went to stderr."""

    def start(self) -> None:
        """Start looking; without looks there is no thread."""
        if self._looks:
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
        due = [self._clock() + period_s for _, period_s in self._looks]
        while not self._done.wait(max(0.0, min(due) - self._clock())):
            now = self._clock()
            for index, (look, period_s) in enumerate(self._looks):
                if due[index] <= now:
                    look()
                    after = self._clock()
                    due[index] = due[index] + period_s if due[index] + period_s > after else after + period_s
        self.broke_off = False
