"""`python -m tests.security.fuzz --count 1500 --seed 1`: fresh hostile inputs, each estimated in a process of its own.

A worker is forked from a parent that has imported everything, so that its CPU seconds and memory are the input's. Exit
code 1 where one input runs code, ends in a traceback, or takes more than `MAX_CPU_S` or `MAX_BYTES`.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from estimator import JoulecastError, estimate
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from tests.security.hostile import KINDS

MAX_CPU_S = 10
MAX_BYTES = 10**9
STOPPED_CPU_S = 30
STOPPED_BYTES = 4 * 2**30
FAULTS = ("execution", "traceback", "slow", "large")
DONE, REFUSED, FAILED = 0, 2, 1


def warm_up() -> None:
    """Import what a worker would, once for all of them; torch with one thread, as a fork leaves the others behind."""
    torch.set_num_threads(1)
    allow_torchvision_without_its_extension()
    import diffusers  # noqa: F401
    import timm  # noqa: F401
    import torchvision  # noqa: F401
    import transformers.modeling_utils  # noqa: F401


def _resident_bytes(column: int = 1) -> int:
    """Resident memory of this process; its whole address space for `column` 0."""
    return int(Path("/proc/self/statm").read_text().split()[column]) * resource.getpagesize()


def _worker(path: Path, folder: Path) -> int:
    """Estimate `path` as the command line does; the exit code of this process. What goes wrong is in `folder`."""
    space = _resident_bytes(0) + STOPPED_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CPU, (STOPPED_CPU_S, STOPPED_CPU_S))
    os.chdir(folder)
    try:
        estimate(str(path))
    except JoulecastError as error:
        if str(error) and "\n" not in str(error):
            return REFUSED
        (folder / "traceback").write_text(f"a message that is not one line: {error!r}")
        return FAILED
    except BaseException:  # noqa: BLE001 - whatever ends a worker is a fault
        (folder / "traceback").write_text(traceback.format_exc())
        return FAILED
    return DONE


def attempt(path: Path, folder: Path) -> list[str]:
    """The faults (of `FAULTS`) that `path` shows in a worker; `folder` is where a canary or a traceback is written."""
    before = _resident_bytes()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = FAILED
        try:
            code = _worker(path, folder)
        finally:
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    seconds, grown = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 - before
    shown = {
        "execution": (folder / "canary").exists(),
        "traceback": os.waitstatus_to_exitcode(status) not in (DONE, REFUSED) and seconds < STOPPED_CPU_S - 1,
        "slow": seconds > MAX_CPU_S,
        "large": grown > MAX_BYTES,
    }
    return [fault for fault in FAULTS if shown[fault]]


def run(count: int, seed: int, keep: Path | None = None) -> dict[str, Counter[str]]:
    """Faults of `count` inputs, by kind; what shows one is kept in `keep`."""
    warm_up()
    found: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in KINDS}
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        with tempfile.TemporaryDirectory(prefix="joulecast-fuzz-") as temporary:
            folder = Path(temporary)
            path = kind(random.Random(f"{seed}-{number}"), folder)
            faults = attempt(path, folder)
            found[kind.__name__].update(["inputs", *faults])
            if faults and keep:
                folder.rename(keep / f"{kind.__name__}-{number}-{'-'.join(faults)}")
                folder.mkdir()
    return found


def table(found: dict[str, Counter[str]]) -> str:
    """One line a kind, and a sum."""
    columns = ("inputs", *FAULTS)
    rows = [*found.items(), ("all", sum(found.values(), Counter()))]
    head = f"{'kind':20}" + "".join(f"{column:>11}" for column in columns)
    return "\n".join([head, *(f"{kind:20}" + "".join(f"{n[c]:11}" for c in columns) for kind, n in rows)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print; 1 where any input shows a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the inputs that show a fault, on the temporary disk")
    given = parser.parse_args(arguments)
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    found = run(given.count, given.seed, given.keep)
    print(table(found))
    return int(any(counts[fault] for counts in found.values() for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
