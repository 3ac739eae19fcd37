"""Measure random networks for some minutes, where the model is least sure, and keep what was measured."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from calibration.errors import CalibrationError
from calibration.measuring import draw, free, measured
from calibration.networks import Network
from calibration.samples import Header, Record, Sample, append, begin, read
from estimator.op_features import describe
from estimator.op_times import roofline_s
from estimator.workload import Workload
from profilers.load import LoadPolicy
from profilers.meter import Meter

CANDIDATES = 3
"""Of so many networks drawn, the one with most that is new is measured."""

JUDGED = 3
"""Every third network is not chosen but drawn: errors are judged on these, left out of the fit in turn."""

_CELL = 1.4
"""Ops whose features differ by less than a factor of exp(1.4) = 4 count as seen together."""

_PATIENCE = 5
"""So many samples in a row may be disturbed before the machine counts as busy."""

_TYPICAL = (2e11, 2e10, 3e-6)
"""FLOP/s, bytes/s and seconds a launch, of any machine: they weigh the ops of a network against each other."""


class Seen:
    """How often ops like these were measured: what was seen least is what the model is least sure of."""

    def __init__(self) -> None:
        self._cells: Counter[tuple[object, ...]] = Counter()

    def _of(self, workload: Workload) -> list[tuple[tuple[object, ...], float]]:
        """The cell of every op in the space of features, and the op's weight in the network: its roofline time."""
        return [
            ((one.group, one.name, *(round(f / _CELL) for f in one.features)), roofline_s(op, *_TYPICAL))
            for op, one in zip(workload.ops, describe(workload), strict=True)
        ]

    def novelty(self, workload: Workload) -> float:
        """The share of the network's time in ops not seen, 1 / (1 + times seen) each: 1 where all is new."""
        ops = self._of(workload)
        return sum(weight / (1 + self._cells[cell]) for cell, weight in ops) / (sum(w for _, w in ops) or 1.0)

    def add(self, workload: Workload) -> None:
        """These ops were measured."""
        self._cells.update({cell for cell, _ in self._of(workload)})


def open_record(path: Path, header: Header, idle_w: Callable[[], float | None]) -> Record:
    """The record at `path`, to go on with, or a new one; `idle_w` measures the idle power for a new one.

    Raises `CalibrationError` where the record there is of another machine or other software.
    """
    if not path.exists():
        idle = idle_w()
        begin(path, header, idle)
        return Record(header, (), idle)
    record = read(path)
    if record.header != header:
        ours, theirs = vars(header), vars(record.header)
        differ = ", ".join(
            f"{name} {theirs[name]!r}, now {ours[name]!r}" for name in ours if ours[name] != theirs[name]
        )
        raise CalibrationError(
            f"{path} was begun on another machine or with other software ({differ}): remove it, or name another --out."
        )
    return record


def _drawn_from(seed: int, header: Header) -> Iterator[tuple[int, Network, Workload]]:
    """Every network that can be measured, from `seed` on."""
    for at in itertools.count(seed):
        drawn = draw(at, header.device, header.dtypes)
        if drawn is not None:
            yield at, *drawn


class Collection:
    """Measures networks until the record holds `seconds` of work; iterate over it. What the caller does meanwhile does
    not count. Each sample is appended to `path` before it is yielded.

    A sample during which other work was seen is thrown away (`discarded`); after `_PATIENCE` of them in a row it waits
    for a quiet machine, as `policy` says.
    """

    def __init__(
        self, path: Path, record: Record, seconds: float, meters: Sequence[Meter], policy: LoadPolicy | None
    ) -> None:
        self.discarded = 0
        self._path, self._header, self._seconds = path, record.header, seconds
        self._meters, self._policy, self._record = meters, policy, record

    def __iter__(self) -> Iterator[Sample]:
        header, seen, in_a_row = self._header, Seen(), 0
        for sample in self._record.samples:
            known = draw(sample.seed, header.device, header.dtypes)
            if known is not None:
                seen.add(known[1])
        spent_s = max((sample.at_s for sample in self._record.samples), default=0.0)
        networks = _drawn_from(max((sample.seed for sample in self._record.samples), default=-1) + 1, header)
        for count in itertools.count(len(self._record.samples)):
            if spent_s >= self._seconds:
                return
            begun_s = time.perf_counter()
            judged = count % JUDGED == 0
            candidates = list(itertools.islice(networks, 1 if judged else CANDIDATES))
            seed, network, workload = max(candidates, key=lambda one: seen.novelty(one[2]))
            watch = self._policy.begin(self._meters, working=True) if self._policy else None
            try:
                sample = measured(seed, network, workload, header.device, self._meters)
            except torch.cuda.OutOfMemoryError:  # a smaller GPU than the largest networks need
                spent_s += time.perf_counter() - begun_s
                del candidates, network
                free(header.device)
                continue
            disturbed = watch is not None and bool(watch.load().busy) and not (self._policy and self._policy.allow_busy)
            spent_s += time.perf_counter() - begun_s
            del candidates, network
            free(header.device)
            if disturbed:
                self.discarded, in_a_row = self.discarded + 1, in_a_row + 1
                if in_a_row >= _PATIENCE and self._policy is not None:
                    self._policy.wait_until_quiet(self._meters)
                    in_a_row = 0
                continue
            in_a_row = 0
            seen.add(workload)
            sample = replace(sample, at_s=spent_s, judged=judged)
            append(self._path, sample)
            yield sample


def collect(
    path: Path, record: Record, seconds: float, meters: Sequence[Meter] = (), policy: LoadPolicy | None = None
) -> Collection:
    """Measure networks into the record at `path`, see `Collection`; `policy` None does not look for other work."""
    return Collection(path, record, seconds, meters, policy)
