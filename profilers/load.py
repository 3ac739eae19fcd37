"""Is the machine busy with something else? Looked at before a window, and again over the window itself.

The CPUs' other load is all busy time less the time of our own process and its children, in cores (1.0: one core kept
busy). The GPUs' is any process on them that is not ours. Another busy process made a calibration wrong by a factor of
10 to 100.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from profilers.errors import BusyError
from profilers.meter import Meter

_IDLE_GPU = 0.05
"""A GPU on which we run nothing is in use above this utilisation."""

_SLACK_S = 0.03
"""CPU times come in ticks of 10 ms, from several sources: a difference within three ticks says nothing."""

_NAMED = 3


@dataclass(frozen=True)
class Load:
    """What was going on beside our own work over `duration_s`."""

    duration_s: float
    other_cores: float | None
    limit_cores: float
    processes: tuple[str, ...] = ()
    """The busiest other processes, for a person to read."""
    gpu: tuple[str, ...] = ()
    """What else was on the GPUs."""

    @property
    def busy(self) -> tuple[str, ...]:
        """What makes the machine too busy to measure, in words; empty if it is quiet."""
        seen = list(self.gpu)
        if self.other_cores is not None and self.other_cores > self.limit_cores:
            named = f" ({', '.join(self.processes)})" if self.processes else ""
            seen.insert(
                0, f"other load of {self.other_cores:.2f} cores, over the limit of {self.limit_cores:.2f}{named}"
            )
        return tuple(seen)


class Watch(Protocol):
    """A look that lasts from its making until `load` is asked for."""

    def load(self) -> Load:
        """What was going on since."""


@dataclass(frozen=True)
class LoadPolicy:
    """What to do on a busy machine: wait up to `wait_s`, then refuse; or measure and mark the run."""

    wait_s: float = 30.0
    look_s: float = 1.0
    limit_cores: float | None = None
    """None: 5% of the logical CPUs, at least a fifth of a core."""
    allow_busy: bool = False
    watch: Callable[[Sequence[Meter], float, bool], Watch] | None = None
    """How to look (meters, limit in cores, whether our own work is under way); None: psutil and the meters."""
    say: Callable[[str], object] | None = None
    """Told once, in words, that it waits, and for what."""

    def begin(self, meters: Sequence[Meter], *, working: bool) -> Watch:
        """Begin a look. `working`: our own work runs meanwhile, so that a GPU in use says nothing."""
        limit = max(0.2, 0.05 * (os.cpu_count() or 1)) if self.limit_cores is None else self.limit_cores
        return (self.watch or SystemWatch)(meters, limit, working)

    def wait_until_quiet(
        self,
        meters: Sequence[Meter],
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Load:
        """Look until the machine is quiet; after `wait_s` raise `BusyError`, or go on where that is allowed."""
        ends_s, told = clock() + (0.0 if self.allow_busy else self.wait_s), False
        while True:
            watch = self.begin(meters, working=False)
            sleep(self.look_s)
            seen = watch.load()
            if not seen.busy or self.allow_busy:
                return seen
            if clock() >= ends_s:
                raise BusyError(
                    f"the machine is busy after {self.wait_s:g} s of waiting: {'; '.join(seen.busy)}. Stop that work, "
                    "wait longer with --wait, or pass --allow-busy to measure all the same and mark the run"
                )
            if self.say is not None and not told:
                self.say(f"Waiting up to {self.wait_s:g} s for a quiet machine: {'; '.join(seen.busy)}")
                told = True


class SystemWatch:
    """Looks through psutil, and through the meters for what is on the GPUs."""

    def __init__(self, meters: Sequence[Meter], limit_cores: float, working: bool) -> None:
        import psutil

        self._psutil: Any = psutil
        self._meters, self._limit_cores, self._working = meters, limit_cores, working
        self._begun_s = time.perf_counter()
        self._processes = self._cpu_seconds()
        self._own_s = self._own()[1]
        self._busy_s = self._busy()

    def load(self) -> Load:
        """The load since the watch was made."""
        busy_s = self._busy() - self._busy_s
        duration_s = max(1e-9, time.perf_counter() - self._begun_s)
        own, own_s = self._own()
        other_cores = max(0.0, (busy_s - (own_s - self._own_s) - _SLACK_S) / duration_s)
        named = self._busiest(own, duration_s) if other_cores > self._limit_cores else ()
        return Load(duration_s, other_cores, self._limit_cores, named, tuple(self._on_gpus(own)))

    def _busy(self) -> float:
        """Seconds that all CPUs worked, or were taken away by a hypervisor (steal), since boot."""
        times = self._psutil.cpu_times()
        parts = ("user", "nice", "system", "irq", "softirq", "steal", "interrupt", "dpc")
        return float(sum(getattr(times, part, 0.0) for part in parts))

    def _own(self) -> tuple[frozenset[int], float]:
        """Our processes, and the CPU seconds of them and of their children that have ended."""
        psutil = self._psutil
        ours = [psutil.Process()]
        ours += ours[0].children(recursive=True)
        seconds = 0.0
        for process in ours:
            try:
                seconds += sum(process.cpu_times()[:4])
            except psutil.Error:
                continue
        return frozenset(process.pid for process in ours), seconds

    def _cpu_seconds(self) -> dict[int, float]:
        found = {}
        for process in self._psutil.process_iter(["cpu_times"]):
            times = process.info["cpu_times"]
            if times is not None:
                found[process.pid] = times.user + times.system
        return found

    def _busiest(self, own: frozenset[int], duration_s: float) -> tuple[str, ...]:
        psutil, rates = self._psutil, []
        for pid, seconds in self._cpu_seconds().items():
            rate = (seconds - self._processes.get(pid, 0.0)) / duration_s
            if pid not in own and rate > 0.01:
                rates.append((rate, pid))
        named = []
        for rate, pid in sorted(rates, reverse=True)[:_NAMED]:
            try:
                named.append(f"{psutil.Process(pid).name()} (pid {pid}) {rate:.2f}")
            except psutil.Error:
                continue
        return tuple(named)

    def _on_gpus(self, own: frozenset[int]) -> list[str]:
        """Other processes on the GPUs. Ids that do not exist here are of another container, or our own on the host."""
        seen = []
        for meter in self._meters:
            activity = meter.activity()
            if activity is None:
                continue
            strangers = activity.pids - own
            foreign = sorted(pid for pid in strangers if self._psutil.pid_exists(pid))
            ours_alone = bool(activity.pids) and not strangers
            if foreign:
                seen.append(f"another process on the GPU (pid {', '.join(map(str, foreign))})")
            elif not self._working and not ours_alone and (activity.utilization or 0.0) > _IDLE_GPU:
                seen.append(f"a GPU in use at {activity.utilization:.0%} by a process that is not visible from here")
        return seen
