"""Measure random networks for some minutes, where the model is least sure, and keep what was measured."""

from __future__ import annotations

import gc
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from calibration.errors import CalibrationError
from calibration.measuring.running import draw, free, measured
from calibration.measuring.samples import Header, Record, Sample, append, begin, is_torn, read
from calibration.networks.random_networks import Network
from estimator.base.atomic import write_text
from estimator.base.errors import FOREIGN_ERRORS
from estimator.base.reading import read_bytes
from estimator.energy.op_features import describe
from estimator.energy.op_times import roofline_s
from estimator.workload.ops import Workload
from profilers.load import LoadPolicy
from profilers.meter import Meter

CANDIDATES = 3
"""Of so many networks drawn, the one with most that is new is measured."""

JUDGED = 3
"""Every third network is not chosen but drawn: errors are judged on these, left out of the fit in turn."""

_CELL = 1.4
"""Ops whose features differ by less than a factor of exp(1.4) = 4 count as seen together."""

_PATIENCE = 5
"""So many samples in a row may be disturbed before the machine counts as busy, or fail before the device does."""

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
    if not path.exists() or is_torn(path):
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
            f"{path} was begun on another machine or with other software ({differ}): begin anew with --fresh, or name "
            "another --out."
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

    The seed of the network at hand is kept beside the record: all that took the whole process down (a kernel that
    writes where it must not) are passed over when the calibration is started again.

    A sample during which other work was seen is thrown away (`discarded`); after `_PATIENCE` of them in a row it waits
    for a quiet machine, as `policy` says. A network that does not run on the device is passed over (`failures` says
    why); after `_PATIENCE` of them in a row it raises `CalibrationError`.
    """

    def __init__(
        self, path: Path, record: Record, seconds: float, meters: Sequence[Meter], policy: LoadPolicy | None
    ) -> None:
        self.discarded = 0
        self.failures: list[str] = []
        self.begun_at_s = max((sample.at_s for sample in record.samples), default=0.0)
        """Seconds that the record held already."""
        self._failed_in_a_row = 0
        self._path, self._header, self._seconds = path, record.header, seconds
        self._meters, self._policy, self._record = meters, policy, record
        self._at_hand = path.with_name(f"{path.name}.at_hand")

    def __iter__(self) -> Iterator[Sample]:
        try:
            yield from self._samples()
        finally:
            gc.unfreeze()

    def _samples(self) -> Iterator[Sample]:
        header, seen, in_a_row = self._header, Seen(), 0
        for sample in self._record.samples:
            known = draw(sample.seed, header.device, header.dtypes)
            if known is not None:
                seen.add(known[1])
        spent_s = self.begun_at_s
        done = max((sample.seed for sample in self._record.samples), default=-1)
        fatal = {seed for seed in self._fatal_seeds() if seed > done}
        networks = (one for one in _drawn_from(done + 1, header) if one[0] not in fatal)
        for count in itertools.count(len(self._record.samples)):
            if spent_s >= self._seconds:
                return
            begun_s = time.perf_counter()
            judged = count % JUDGED == 0
            candidates = list(itertools.islice(networks, 1 if judged else CANDIDATES))
            seed, network, workload = max(candidates, key=lambda one: seen.novelty(one[2]))
            self._remember({*fatal, seed})
            try:
                taken, disturbed = self._attempt(seed, network, workload)
            finally:
                self._remember(fatal)
            spent_s += time.perf_counter() - begun_s
            del candidates, network
            with suppress(RuntimeError):  # of a device that answers nothing any more
                free(header.device)
            if disturbed:
                self.discarded, in_a_row = self.discarded + 1, in_a_row + 1
                if in_a_row >= _PATIENCE and self._policy is not None:
                    self._policy.wait_until_quiet(self._meters)
                    in_a_row = 0
            elif taken is not None:
                in_a_row = 0
                seen.add(workload)
                sample = replace(taken, at_s=spent_s, judged=judged)
                append(self._path, sample)
                fatal = {one for one in fatal if one > seed}  # none below is drawn again
                self._remember(fatal)
                yield sample

    def _fatal_seeds(self) -> set[int]:
        """The networks that were being measured whenever the process died."""
        try:
            return {int(seed) for seed in read_bytes(self._at_hand, 2**20).split()}
        except (OSError, ValueError):
            return set()

    def _remember(self, seeds: set[int]) -> None:
        if seeds:
            write_text(self._at_hand, "\n".join(map(str, sorted(seeds))))
        else:
            self._at_hand.unlink(missing_ok=True)

    def _attempt(self, seed: int, network: Network, workload: Workload) -> tuple[Sample | None, bool]:
        """The sample, None where the network does not run here; and whether other work ran beside it."""
        device, policy = self._header.device, self._policy
        watch = policy.begin(self._meters, working=True) if policy else None
        try:
            sample = measured(seed, network, workload, device, self._meters)
        except FOREIGN_ERRORS as error:  # too little memory, or a kernel that this device lacks
            self.failures.append(
                f"network {seed}: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
            )
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _PATIENCE:
                raise CalibrationError(
                    f"{_PATIENCE} networks in a row did not run on {device} ({self.failures[-1]}): see that nothing "
                    "else takes its memory and that other programs run there, then start again."
                ) from error
            return None, False
        self._failed_in_a_row = 0
        busy = watch is not None and bool(watch.load().busy)
        if policy and policy.allow_busy:
            return replace(sample, disturbed=busy), False
        return sample, busy


def collect(
    path: Path, record: Record, seconds: float, meters: Sequence[Meter] = (), policy: LoadPolicy | None = None
) -> Collection:
    """Measure networks into the record at `path`, see `Collection`; `policy` None does not look for other work."""
    return Collection(path, record, seconds, meters, policy)
