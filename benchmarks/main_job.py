"""The main job as a user runs it, in a process that imports, loads, traces, prices and reports: seconds and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figure import Figure, of_samples
from benchmarks.models import write_llama_70b, write_resnet_50

_ESTIMATE = ("-m", "estimator.commands")
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


def run(arguments: Sequence[str]) -> tuple[float, float]:
    """(wall seconds, peak megabytes) of `python ARGUMENTS`.

    Linux counts the memory of the process that starts another one as the other's until it has replaced itself, so
    this module must run before anything large is imported here: it comes first, and imports no torch.
    """
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return taken, usage.ru_maxrss * _MAXRSS_BYTES / 1e6


def _figures(name: str, arguments: Sequence[str], repeats: int, bars: tuple[float | None, ...]) -> Iterator[Figure]:
    runs = [run(arguments) for _ in range(repeats)]
    yield of_samples(f"{name}, seconds", [taken for taken, _ in runs], "s", bars[0])
    yield of_samples(f"{name}, peak memory", [memory for _, memory in runs], "MB", bars[1])


def measure() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        resnet, llama = Path(folder, "resnet50.pt"), Path(folder, "llama-2-70b")
        write_resnet_50(resnet)
        write_llama_70b(llama)
        yield from _figures("importing torch alone", ("-c", "import torch"), 3, (None, None))
        yield from _figures("estimate resnet50.pt", (*_ESTIMATE, str(resnet), "--json"), 3, (5.0, None))
        tokens = ("--input", "tokens:2048", "--json")
        yield from _figures("estimate llama-2-70b", (*_ESTIMATE, str(llama), *tokens), 3, (10.0, 1000.0))


def measure_help() -> Iterator[Figure]:
    for name, arguments in (("estimate --help", ("--help",)), ("estimate model --help", ("model", "--help"))):
        yield of_samples(name, [run((*_ESTIMATE, *arguments))[0] for _ in range(7)], "s", 0.4)
