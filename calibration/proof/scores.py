"""How far predictions are from measurements: one measured run a case, one score for all cases of a kind, one table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby

import numpy as np

from calibration.published.left_out import Target


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
