"""How far predictions are from measurements, beside what simpler methods reach: one table, one JSON file.

python -m calibration.proof.accuracy DIRECTORY                        # published rows, each left out of its own fit
python -m calibration.proof.accuracy DIRECTORY --json build/accuracy.json
python -m calibration.proof.accuracy --shipped DIRECTORY              # the profiles as shipped, on rows of any folder
python -m calibration.proof.accuracy --pairs DIRECTORY                # whether `compare` tells rows apart rightly
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from estimator.base.atomic import write_text

Target = Literal["energy", "duration"]


@dataclass(frozen=True)
class Case:
    """One measured run and what a method predicted for it, both in J or in s; `low` and `high` end its 90% interval.

    `dataset` names machine and phase, `split` what the method had not seen of it, `method` who predicted.
    """

    dataset: str
    target: Target
    split: str
    method: str
    measured: float
    predicted: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Score:
    """The errors of `n` cases: mean and median absolute percentage error, the share within 10%, the bias as a factor
    (geometric mean of predicted over measured), and the share of intervals that hold the measured value."""

    dataset: str
    target: Target
    split: str
    method: str
    n: int
    mean_ape: float
    median_ape: float
    within_10: float
    bias: float
    coverage_90: float | None


def score(cases: Iterable[Case]) -> list[Score]:
    """One score per dataset, target, split and method, in the order in which these first come."""
    of: dict[tuple[str, Target, str, str], list[Case]] = {}
    for case in cases:
        of.setdefault((case.dataset, case.target, case.split, case.method), []).append(case)
    return [_scored(*key, of[key]) for key in of]


def _scored(dataset: str, target: Target, split: str, method: str, cases: list[Case]) -> Score:
    ratio = np.array([case.predicted / case.measured for case in cases])
    error = np.abs(ratio - 1)
    held = [c.low <= c.measured <= c.high for c in cases if c.low is not None and c.high is not None]
    return Score(
        dataset,
        target,
        split,
        method,
        len(cases),
        float(error.mean()),
        float(np.median(error)),
        float((error <= 0.1).mean()),
        float(np.exp(np.log(ratio).mean())),
        sum(held) / len(held) if held else None,
    )


def table(scores: Iterable[Score]) -> str:
    """The scores as text of 80 columns, under a line for each dataset, target and split."""
    lines = [f"{'':34}{'n':>5}{'mean':>8}{'median':>8}{'in 10%':>8}{'bias':>7}{'in 90%':>8}"]
    for (dataset, target, split), group in groupby(scores, lambda s: (s.dataset, s.target, s.split)):
        lines.append(f"{dataset}: {target}, {split}")
        for s in group:
            held = "" if s.coverage_90 is None else f"{s.coverage_90:.0%}"
            lines.append(
                f"  {s.method:32}{s.n:5}{s.mean_ape:8.1%}{s.median_ape:8.1%}{s.within_10:8.0%}{s.bias:7.2f}{held:>8}"
            )
    return "\n".join(lines)


def as_json(scores: Iterable[Score]) -> str:
    """The scores as a JSON list of objects with the fields of `Score`; `coverage_90` is null without intervals."""
    return json.dumps([asdict(s) for s in scores], indent=1) + "\n"


def published_cases(directory: Path) -> Iterator[Case]:
    """Every published row of `directory`, predicted by each method without having seen it."""
    from calibration.proof.held_out import cases
    from calibration.published.rows import read

    yield from cases(list(read(directory)))


def shipped_cases(directory: Path) -> Iterator[Case]:
    """Every published row of `directory`, predicted by the profiles as shipped: of rows that no fit has seen."""
    from calibration.proof.held_out import shipped
    from calibration.published.rows import read

    yield from shipped(list(read(directory)))


def _pairs(directory: Path) -> str:
    from calibration.proof import pairs
    from calibration.published.rows import read

    return pairs.table(pairs.pairs_of(list(read(directory))))


def main() -> None:
    """Print the table; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m calibration.proof.accuracy", description="Errors on measured rows."
    )
    parser.add_argument("directory", type=Path, nargs="?", help="published CSV files, left out of the fit in turn")
    parser.add_argument("--shipped", type=Path, metavar="DIRECTORY", help="rows for the profiles as shipped")
    parser.add_argument("--pairs", type=Path, metavar="DIRECTORY", help="rows to be told apart, two by two")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores to this file")
    arguments = parser.parse_args()
    cases: list[Case] = []
    if arguments.directory:
        cases += published_cases(arguments.directory)
    if arguments.shipped:
        cases += shipped_cases(arguments.shipped)
    scores = score(cases)
    if scores:
        print(table(scores))
    if arguments.pairs:
        print(_pairs(arguments.pairs))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(arguments.json, as_json(scores))


if __name__ == "__main__":
    main()
