"""Kills a calibration and a search at random moments, goes on, and counts what is lost or doubled: must be 0 and 0.

    python -m tests.security.kills [--kills 60] [--seed 0]

Measuring is simulated. A sample counts as had once the calibration has yielded it, a unit once the search has told so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from calibration.measuring import collect as collecting
from estimator.base.errors import JoulecastError
from estimator.base.locks import locked
from estimator.energy.uncertainty import Interval
from estimator.lifecycle.scenario import Scenario
from estimator.search.plan import Plan, Unit
from estimator.search.records import ResultFile
from estimator.search.simulate import TrialCost
from tests.calibration.learning.simulated_machine import header, sample

Say = Callable[[object], None]
_FORK = get_context("fork")  # what is imported is there at once
_REFUSED = "refused"


def calibration(path: Path, say: Say) -> None:
    """Measure without end."""
    collecting.measured = lambda seed, network, workload, device, meters: sample(seed, network, workload, 0.0)
    with locked(path.with_suffix(".calibration")):
        record = collecting.open_record(path, header(), lambda: None)
        say("begun")
        for one in collecting.collect(path, record, 1e9):
            say(one.seed)


def search(path: Path, say: Say) -> None:
    """Write units without end."""
    one = Interval(1.0, 0.5, 2.0)
    file = ResultFile(path, Plan("space.py", Scenario(trials=100_000, epochs=1, samples=1)))
    say("begun")
    for n in range(100_000):
        unit = Unit(0, 20 * n, 20)
        if unit not in file.done:
            file.append(unit, [TrialCost(0, t, "complete", 1, 1, one, one, {}) for t in range(20 * n, 20 * n + 20)])
            say(n)


WRITERS = {"calibration": (calibration, 2.0), "search": (search, 0.3)}
"""And the longest that one lives, in seconds."""


def kept_in(what: str, path: Path) -> Counter[int]:
    """What the file holds, and how often: seeds of samples, or units of a search, whole ones alone."""
    found = Counter[int]()
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if what == "calibration" and "seed" in told:
            found[told["seed"]] += 1
        if what == "search" and "done" in told:
            found[told["done"][1] // 20] += 1
    return found


def _write(what: str, path: Path, pipe: int) -> None:
    try:
        WRITERS[what][0](path, lambda told: os.write(pipe, f"{told}\n".encode()) and None)
    except JoulecastError as error:
        os.write(pipe, (_REFUSED if "another joulecast" in str(error) else f"{error}").encode() + b"\n")


def start(what: str, path: Path) -> tuple[BaseProcess, int]:
    """A writer of `path`, and the pipe that it tells what it has done."""
    read, write = os.pipe()
    process = _FORK.Process(target=_write, args=(what, path, write), daemon=True)
    process.start()
    os.close(write)
    return process, read


def end(process: BaseProcess, pipe: int) -> list[str]:
    """Kill a writer; what it told."""
    process.kill()
    process.join()
    with os.fdopen(pipe) as file:
        return file.read().split()


def warm(folder: Path) -> None:
    """Measure one sample here, so that writers need not first import what it takes."""
    collecting.measured = lambda seed, network, workload, device, meters: sample(seed, network, workload, 0.0)
    path = folder / "warm.jsonl"
    next(iter(collecting.collect(path, collecting.open_record(path, header(), lambda: None), 1e9)))


def killed(what: str, path: Path, after_s: float) -> list[int]:
    """Start a writer, kill it so long after its start, and say what it told to be done."""
    process, pipe = start(what, path)
    time.sleep(after_s)
    return [int(told) for told in end(process, pipe) if told != "begun"]


def kill_often(what: str, kills: int, seed: int, folder: Path) -> tuple[int, int, int]:
    """How many were told to be done, how many of them the file lost, and how many it holds more than once."""
    chance, told, path = random.Random(seed), set[int](), folder / f"{what}.jsonl"
    for _ in range(kills):
        told |= set(killed(what, path, chance.uniform(0, WRITERS[what][1])))
    kept = kept_in(what, path)
    return len(told), len(told - set(kept)), sum(n > 1 for n in kept.values())


def two_writers(what: str, folder: Path) -> tuple[int, bool]:
    """How many are doubled where two write one file, and whether the second was refused."""
    path = folder / f"{what}.two.jsonl"
    first, told = start(what, path)
    os.read(told, 6)  # it has begun
    second, said = start(what, path)
    second.join(10)
    refused = end(second, said) == [_REFUSED]
    end(first, told)
    return sum(n > 1 for n in kept_in(what, path).values()), refused


def main() -> int:
    """Print the counts; 1 where one is not 0."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given, bad = parser.parse_args(), False
    with tempfile.TemporaryDirectory() as folder:
        warm(Path(folder))
        for what in WRITERS:
            done, lost, doubled = kill_often(what, given.kills, given.seed, Path(folder))
            twice, refused = two_writers(what, Path(folder))
            print(f"{what}: {given.kills} kills, {done} done, {lost} lost, {doubled} doubled", flush=True)
            print(f"{what}: two writers, {twice} doubled, the second {'refused' if refused else 'NOT refused'}")
            bad |= bool(lost or doubled or twice or not refused)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
