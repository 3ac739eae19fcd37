"""`python -m benchmarks`: measure, print a table with the bar beside each figure, write build/bench.json; exit 0."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks import main_job, noise
from benchmarks.figure import HEADER, Figure
from estimator.base.atomic import write_text
from estimator.base.errors import JoulecastError


def _trace() -> Iterator[Figure]:
    from benchmarks import tracing

    yield from tracing.measure()


def _pricing() -> Iterator[Figure]:
    from benchmarks import pricing

    yield from pricing.measure()


def _dispatch() -> Iterator[Figure]:
    from benchmarks import dispatch

    yield from dispatch.measure()


def _search() -> Iterator[Figure]:
    from benchmarks import search

    yield from search.measure()


def _meter() -> Iterator[Figure]:
    from benchmarks import meter

    yield from meter.measure()


BENCHMARKS = {
    "main_job": main_job.measure,  # first, while this process is small
    "help": main_job.measure_help,
    "trace": _trace,
    "pricing": _pricing,
    "dispatch": _dispatch,
    "search": _search,
    "meter": _meter,
}


def _run(name: str) -> Iterator[Figure]:
    """The figures of one benchmark, printed as they come; where it cannot run, why."""
    print(f"\n{name}", flush=True)
    try:
        for figure in BENCHMARKS[name]():
            print(figure.row(), flush=True)
            yield figure
    except (ImportError, OSError, RuntimeError, JoulecastError, subprocess.SubprocessError) as error:
        print(f"not measured: {error}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all without a name")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"), metavar="JSON")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    before = noise.observe()
    print(HEADER)
    measured = {name: list(_run(name)) for name in BENCHMARKS if not arguments.names or name in arguments.names}
    after = noise.observe()
    figures = [figure for of_one in measured.values() for figure in of_one]
    judged = [figure for figure in figures if figure.met is not None]
    print(f"\n{sum(bool(figure.met) for figure in judged)} of {len(judged)} bars met")
    print(noise.summary(before, after))
    result = {
        "noise": {"before": asdict(before), "after": asdict(after)},
        "figures": {name: [{**asdict(f), "met": f.met} for f in of_one] for name, of_one in measured.items()},
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(arguments.output, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
