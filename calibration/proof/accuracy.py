"""How far predictions are from measurements, beside what simpler methods reach: one table, one JSON file.

python -m calibration.proof.accuracy DIRECTORY                        # published rows, each left out of its own fit
python -m calibration.proof.accuracy DIRECTORY --json build/accuracy.json
python -m calibration.proof.accuracy --shipped DIRECTORY              # the profiles as shipped, on rows of any folder
python -m calibration.proof.accuracy --pairs DIRECTORY                # whether `compare` tells rows apart rightly
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from calibration.proof import pairs
from calibration.proof.held_out import cases as held_out_cases
from calibration.proof.held_out import shipped
from calibration.proof.scores import Case, as_json, score, table
from calibration.published import beside
from calibration.published.rows import read
from estimator.base.atomic import write_text


def published_cases(directory: Path) -> Iterator[Case]:
    """Every published row of `directory`, single operations too, predicted by each method without having seen it."""
    yield from held_out_cases(list(read(directory)), beside.read(directory))


def shipped_cases(directory: Path) -> Iterator[Case]:
    """Every published row of `directory`, predicted by the profiles as shipped: of rows that no fit has seen."""
    yield from shipped(list(read(directory)))


def _pairs(directory: Path) -> str:
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
