"""How fast the machine is at the moment.

On a shared machine, neighbours on the same caches and memory slow everything for seconds at a time without showing up
as load. Two short pieces of work tell: a matrix product whose weights come from a shared cache, and a copy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

_TIMES = 5


def _seconds(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TIMES):
        begun_s = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun_s)
    return statistics.median(taken)


class Pace:
    """Times the two pieces of work, some milliseconds together, on a device that runs ops as they are called."""

    def __init__(self) -> None:
        rows, weights, product = torch.ones(64, 1024), torch.ones(1024, 1024), torch.empty(64, 1024)
        source, copy = torch.ones(1 << 21), torch.empty(1 << 21)
        self._work = (lambda: torch.mm(rows, weights, out=product), lambda: copy.copy_(source))

    def seconds(self) -> tuple[float, ...]:
        """Medians: of a product of (64, 1024) and (1024, 1024), and of copying 8 MiB; both float32."""
        return tuple(_seconds(work) for work in self._work)


def between(before: Sequence[float], after: Sequence[float]) -> tuple[float, ...]:
    """The pace between two moments: geometric means."""
    return tuple((b * a) ** 0.5 for b, a in zip(before, after, strict=True))
