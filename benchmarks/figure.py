"""One measured figure, its bar, and how figures are printed and repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured value. `bar` is the most that it may be (None: no bar).

    `spread` is the interquartile range of the repeats over their median.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    spread: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        return None if self.bar is None else self.value <= self.bar

    def row(self) -> str:
        """The figure as one line of the table."""
        bar = "" if self.bar is None else f"<= {_number(self.bar)}"
        met = {None: "", True: "met", False: "NOT MET"}[self.met]
        spread = "" if self.spread is None else f"{self.spread:.0%}"
        return (
            f"{self.name:44}{_number(self.value):>10} {self.unit:6}{bar:>9}  {met:8}{spread:>6}  {self.note}".rstrip()
        )


HEADER = f"{'':44}{'measured':>10} {'':6}{'bar':>9}  {'':8}{'spread':>6}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def of_samples(name: str, samples: Sequence[float], unit: str, bar: float | None = None, note: str = "") -> Figure:
    """The median of repeated measurements."""
    middle = median(samples)
    quartiles = quantiles(samples, n=4) if len(samples) > 2 else None
    spread = (quartiles[2] - quartiles[0]) / middle if quartiles and middle else None
    return Figure(name, middle, unit, bar, spread, note)


def seconds(call: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(calls: Sequence[Callable[[], Any]], repeats: int) -> list[list[float]]:
    """Seconds of each call, `repeats` times, in turns, so that a slow moment of the machine meets all; one warm-up."""
    for call in calls:
        call()
    rounds = [[seconds(call) for call in calls] for _ in range(repeats)]
    return [list(samples) for samples in zip(*rounds, strict=True)]
