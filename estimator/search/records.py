"""The results of a search as JSON lines, one a trial, so that a sweep that broke goes on where it was.

The first line tells of which search; after the trials of a unit comes a line that says that the unit is done. What
follows the last such line was cut off, and is dropped.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from estimator.base.errors import ScenarioError
from estimator.base.locks import locked
from estimator.base.reading import check_ordinary
from estimator.energy.uncertainty import Interval
from estimator.search.plan import Plan, Unit
from estimator.search.simulate import TrialCost

_TOLD_FAILURES = 20
"""Failed trials of one unit whose reasons are kept."""

_LONGEST_LINE = 2**20


@dataclass(frozen=True)
class UnitSum:
    """What the trials of one unit add up to. `finished`: those that were trained, to their end or until pruned."""

    unit: Unit
    trials: int
    finished: int
    epochs_run: float
    energy_j: Interval
    duration_s: Interval
    failures: tuple[tuple[int, str], ...]
    failed: int
    cautions: tuple[str, ...]


def summed(unit: Unit, costs: Iterable[TrialCost]) -> UnitSum:
    """Adds up the trials of `unit`."""
    trials = failed = finished = 0
    epochs, energy_j, duration_s = 0.0, Interval(0.0, 0.0, 0.0), Interval(0.0, 0.0, 0.0)
    failures: list[tuple[int, str]] = []
    cautions: dict[str, None] = {}
    for cost in costs:
        trials += 1
        if cost.state == "failed":
            failed += 1
            failures += [(cost.trial, cost.error)] if len(failures) < _TOLD_FAILURES else []
        finished += cost.epochs_run > 0
        epochs += cost.epochs_run
        cautions |= dict.fromkeys(cost.cautions)
        energy_j, duration_s = energy_j + cost.energy_j, duration_s + cost.duration_s
    return UnitSum(unit, trials, finished, epochs, energy_j, duration_s, tuple(failures), failed, tuple(cautions))


class ResultFile:
    """A file of JSON lines that the units of one plan are appended to. Opening it reads what is there."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.done: dict[Unit, UnitSum] = {}
        self._head = {"search": plan.fingerprint, "trials": plan.trials, "studies": plan.times}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            check_ordinary(path)
        except OSError as error:
            raise ScenarioError(f"--out {path} cannot be written ({error.strerror}): name another file.") from error
        self._lock = locked(path)
        try:
            if path.stat().st_size:
                self._read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others write it."""
        self._lock.release()

    def append(self, unit: Unit, costs: Iterable[TrialCost]) -> None:
        """Write the trials of a unit that is done; on disk when this returns."""
        lines = [json.dumps(told) for told in (*map(asdict, costs), {"done": unit})]
        try:
            with self.path.open("a", encoding="utf-8") as file:
                if not file.tell():
                    lines.insert(0, json.dumps(self._head))
                file.write("\n".join(lines) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ScenarioError(
                f"--out {self.path} cannot be written ({error.strerror}): free its disk; the same command then goes on."
            ) from error

    def _read(self) -> None:
        with self.path.open("r+b") as file:
            head = json.dumps(self._head).encode() + b"\n"
            begun = file.read(len(head))
            if len(begun) < len(head) and head.startswith(begun):  # a kill tore the first line: nothing was done
                file.truncate(0)
                return
            file.seek(0)
            lines, whole = _lines(file), 0
            first = next(lines, None)
            if first is None or first[0] != self._head:
                raise ScenarioError(
                    f"{self.path} holds the results of another search, or none: name another file with --out, or "
                    "delete it."
                )
            whole, costs = first[1], list[TrialCost]()
            with suppress(KeyError, TypeError, ValueError):  # a line that is none of ours: the rest is run again
                for told, end in lines:
                    if "done" in told:
                        unit = Unit(*told["done"])
                        self.done[unit] = summed(unit, costs)
                        whole, costs = end, []
                    else:
                        costs.append(_cost_of(told))
            file.truncate(whole)


def _lines(file: IO[bytes]) -> Iterator[tuple[dict[str, Any], int]]:
    """Every whole line as data, and where it ends, up to the first that is none."""
    end = 0
    for line in iter(lambda: file.readline(_LONGEST_LINE), b""):
        end += len(line)
        try:
            told = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            return
        if not isinstance(told, dict):
            return
        yield told, end


def _cost_of(told: dict[str, Any]) -> TrialCost:
    intervals = {name: _interval(**told[name]) for name in ("energy_j", "duration_s")}
    if not all(0 <= told[name] < math.inf for name in ("epochs", "epochs_run")):
        raise ValueError("epochs are numbers")
    return TrialCost(**{**told, **intervals, "cautions": tuple(told["cautions"])})


def _interval(value: float, low: float, high: float) -> Interval:
    if not 0 <= low <= value <= high < math.inf:
        raise ValueError("an interval holds its value, and has an end")
    return Interval(value, low, high)
