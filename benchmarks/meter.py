"""What measuring costs: a CPU-bound loop bare, under our meters, and under codecarbon's tracker, in turns in one run.

The sensors are simulated (a powercap tree in a temporary directory, an NVML module in Python), since few machines have
both; the thread, the files read and the arithmetic are real. Two figures each. "threads": CPU time of every thread but
the loop's own, over the loop's wall time: what measuring takes, exact also on a noisy machine, and judged. "loop": how
much longer the loop takes, fastest round against fastest round; below its note, the spread of the bare loops, it says
nothing.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, of_samples
from profilers.cpu.rapl import RaplMeter
from profilers.gpu.nvml import NvmlMeter
from profilers.meter import Meter
from profilers.modelled import ModelledMeter
from profilers.session import measure as measured
from tests.profilers.simulation import Counter, SimulatedGpu, SimulatedNvml, Tree

BAR_PERCENT = 0.5
ROUNDS, LOOP = 7, 50_000_000
"""About two seconds per loop, so that codecarbon's look of every second falls into it."""


def _spin() -> int:
    total = 0
    for i in range(LOOP):
        total += i & 3
    return total


def _timed(context: Callable[[], contextlib.AbstractContextManager[Any]]) -> tuple[float, float]:
    """Wall seconds of the loop inside a context, and CPU seconds of all other threads. Entering it is not timed."""
    with context():
        wall_s, cpu_s, own_s = time.perf_counter(), time.process_time(), time.thread_time()
        _spin()
        return time.perf_counter() - wall_s, (time.process_time() - cpu_s) - (time.thread_time() - own_s)


def _tree(root: Path) -> Tree:
    """Two sockets with DRAM: the most that a usual server shows."""
    tree = Tree(root)
    for socket in (0, 1):
        tree.add(f"intel-rapl:{socket}", f"package-{socket}", Counter(100.0))
        tree.add(f"intel-rapl:{socket}:0", "dram", Counter(10.0))
    return tree


def measure() -> Iterator[Figure]:
    """What each way of measuring adds to the loop."""
    with tempfile.TemporaryDirectory() as directory:
        rapl = RaplMeter(_tree(Path(directory) / "powercap").root)
        counted, uncounted = (
            NvmlMeter(SimulatedNvml([SimulatedGpu(counter=counter)], time.perf_counter)) for counter in (True, False)
        )

        def under(*meters: Meter) -> Callable[[], contextlib.AbstractContextManager[Any]]:
            return lambda: measured(meters, policy=None)

        ways = {
            "bare": contextlib.nullcontext,
            "rapl": under(rapl),
            "rapl + nvml": under(rapl, counted),
            "rapl + nvml without a counter": under(rapl, uncounted),
            "codecarbon": under(ModelledMeter()),
        }
        for way in ways.values():
            _timed(way)
        rounds = [{name: _timed(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    fastest = {name: min(one[name][0] for one in rounds) for name in ways}
    slowest_s = max(one["bare"][0] for one in rounds)
    noise = f"bare loops differ by up to {_percent(slowest_s, fastest['bare']):.1f}%"
    notes = {
        "rapl": "simulated tree: 2 packages + DRAM, every 350 ms",
        "rapl + nvml": "and a simulated GPU with an energy counter, every 250 to 750 ms",
        "rapl + nvml without a counter": "and a simulated GPU whose power is integrated, every 20 ms",
        "codecarbon": "its load model, its default period",
    }
    for name, note in notes.items():
        bar = None if name == "codecarbon" else BAR_PERCENT
        shares = [100 * others_s / wall_s for wall_s, others_s in (one[name] for one in rounds)]
        yield of_samples(f"meter: {name}, threads", shares, "%", bar, note)
        yield Figure(f"meter: {name}, loop", _percent(fastest[name], fastest["bare"]), "%", None, None, noise)


def _percent(with_it_s: float, bare_s: float) -> float:
    return (with_it_s / bare_s - 1) * 100
