"""How fast the machine is at the moment.

On a shared machine, neighbours on the same cores, caches and memory slow everything for tenths of seconds to seconds at
a time without showing up as load. Short pieces of work tell. Two, which would drive out of a cache what a network left
there, are done around it: a product whose weights come from a shared cache, and a copy. Two are done while it runs,
between its batches: a product that fits a core's own cache, and a loop of plain Python.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch

WORK = ("a matrix product", "a copy", "a small matrix product", "a loop of Python")
"""What the pieces of work are called, in their order."""

_TIMES = 5

_EVERY_S = 0.01
"""How often the pace is looked at while a network runs."""

_STEPS = 300


def _seconds(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TIMES):
        begun_s = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun_s)
    return statistics.median(taken)


def _product(rows: int, width: int) -> Callable[[], object]:
    """(rows, width) times (width, width), in float32."""
    a, weights, product = torch.ones(rows, width), torch.ones(width, width), torch.empty(rows, width)
    return lambda: torch.mm(a, weights, out=product)


def _loop() -> int:
    total = 0
    for step in range(_STEPS):
        total += step * step
    return total


class Pace:
    """Times the pieces of work on a device that runs ops as they are called: medians, in seconds."""

    def __init__(self) -> None:
        source, copy = torch.ones(1 << 21), torch.empty(1 << 21)
        self._around = (_product(64, 1024), lambda: copy.copy_(source))
        self._during = (_product(64, 256), _loop)

    def around(self) -> tuple[float, ...]:
        """A product of (64, 1024) and (1024, 1024), and copying 8 MiB: some milliseconds."""
        return tuple(map(_seconds, self._around))

    def during(self) -> tuple[float, ...]:
        """A product of (64, 256) and (256, 256), and a loop: some tenths of a millisecond."""
        return tuple(map(_seconds, self._during))


class Followed:
    """The pace from when this is made until `seconds` is called; `look` is to be called often in between."""

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._around = [pace.around()] if pace else []
        self._during = [pace.during()] if pace else []
        self._looked_s = time.perf_counter()

    def look(self) -> None:
        """Look at the pace, if that was not done just now."""
        if self._pace is not None and time.perf_counter() - self._looked_s > _EVERY_S:
            self._during.append(self._pace.during())
            self._looked_s = time.perf_counter()

    def seconds(self) -> tuple[float, ...]:
        """What `WORK` took (geometric means); () where the pace is not followed."""
        if self._pace is None:
            return ()
        around, during = [*self._around, self._pace.around()], [*self._during, self._pace.during()]
        return (*middle(around), *middle(during))


def middle(looks: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Geometric means of several looks at the same work."""
    return tuple(np.exp(np.log(looks).mean(axis=0)).tolist())


@cache
def _pace_of_cpu() -> Pace:
    return Pace()


def follow(device: str) -> Followed:
    """Follow the pace of a torch device from now on: that of a CPU; no neighbour shares a GPU."""
    return Followed(_pace_of_cpu() if device == "cpu" else None)
