"""Our RAPL meter, codecarbon and pyRAPL on the same simulated trees: `python -m tests.profilers.cpu.compare_on_trees`.

Every cell is what the code gave in this run; nothing is filled in by hand. codecarbon reads the tree through its own
`CPU` class in its RAPL mode, every 15 s as its tracker does; pyRAPL through its `Measurement`, its paths redirected.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from profilers.cpu.rapl import RaplMeter
from profilers.measurement import Measurement
from tests.profilers.cpu.trees import CASES, SECONDS, Case
from tests.profilers.simulation import Clock, window

CODECARBON_PERIOD_S = 15.0
"""The default of codecarbon's `measure_power_secs`."""


def ours(case: Case) -> str:
    """The total, or what is absent and what was read all the same."""
    clock = Clock()
    with case.on(clock):
        seen = window(RaplMeter(case.tree.root, clock), clock, SECONDS)
    total = Measurement(SECONDS, tuple(seen.values())).total
    if total.energy_j is not None:
        return _joules(total.energy_j)
    parts = []
    for name, reading in seen.items():
        if reading.energy_j is not None:
            parts.append(f"{name} {_joules(reading.energy_j)}")
        elif reading.partial is not None:
            parts.append(f"{name} absent, {_joules(reading.partial.energy_j)} until {reading.partial.until_s:.1f} s")
        else:
            parts.append(f"{name} absent, with the reason")
    return "no total: " + "; ".join(parts)


def codecarbons(case: Case) -> str:
    """What codecarbon adds up with its default options."""
    cpu, hardware = import_module("codecarbon.core.cpu"), import_module("codecarbon.external.hardware")
    directory = str(case.tree.root / "intel-rapl" / "subsystem")
    clock = Clock()
    with case.on(clock), _quiet():
        if not cpu.is_rapl_available(directory):
            return "finds no RAPL, models from load and TDP instead"
        device = hardware.CPU("", "intel_rapl", "simulated", 100, rapl_dir=directory)
        device.start()
        joules = _joules_of(device, 0.001)
        for _ in range(round(SECONDS / CODECARBON_PERIOD_S)):
            for _ in range(60):
                clock.advance(CODECARBON_PERIOD_S / 60)
            joules += _joules_of(device, CODECARBON_PERIOD_S)
    return _joules(joules)


def _joules_of(device: Any, seconds: float) -> float:
    _, energy = device.measure_power_and_energy(last_duration=seconds)
    return float(energy.kWh) * 3.6e6


def pyrapls(case: Case) -> str:
    """Package and DRAM as pyRAPL's own result holds them, added up over sockets."""
    with _quiet():
        pyrapl = import_module("pyRAPL")
    clock = Clock()
    with case.on(clock), pyrapl_on(case.tree.root):
        try:
            pyrapl.setup()
            measurement = pyrapl.Measurement("window")
            measurement.begin()
            clock.advance(SECONDS / 3)
            clock.advance(SECONDS / 3)
            clock.advance(SECONDS / 3)
            measurement.end()
        except (pyrapl.PyRAPLException, OSError, ValueError) as error:
            return f"fails: {type(error).__name__}"
    result = measurement.result
    if result.pkg is None:
        return "None: its difference was negative"
    return _joules(sum((*result.pkg, *(result.dram or ()))) / 1e6)


@contextlib.contextmanager
def pyrapl_on(root: Path) -> Iterator[None]:
    """pyRAPL's hard-wired paths lead into the tree, and the machine has as many sockets as the tree has packages."""
    api = import_module("pyRAPL.device_api")
    names = [path.read_text().strip() for path in sorted(root.glob("intel-rapl:*/name"))]
    sockets = sorted({int(name.split("-")[1]) for name in names if name.startswith("package-")})

    def there(path: str) -> str:
        return path.replace("/sys/class/powercap", str(root))

    real_sockets = api.get_socket_ids

    def redirected(path: str, mode: str = "r") -> Any:
        return Path(there(path)).open(mode)

    api.open = redirected
    api.os = SimpleNamespace(path=SimpleNamespace(exists=lambda path: Path(there(path)).exists()))
    api.get_socket_ids = lambda: list(sockets)
    try:
        yield
    finally:
        del api.open
        api.os, api.get_socket_ids = os, real_sockets


def rows() -> list[Sequence[str]]:
    """One row per tree: what was drawn, and what each of the three says."""
    table: list[Sequence[str]] = []
    for build in CASES:
        cells = [_on_a_fresh_tree(build, read) for read in (_truth, ours, codecarbons, pyrapls)]
        table.append((_on_a_fresh_tree(build, lambda case: case.title), *cells))
    return table


def heads() -> Sequence[str]:
    """The names of the columns, with the versions that this run used."""
    return "tree", "truth", "joulecast", f"codecarbon {version('codecarbon')}", f"pyRAPL {version('pyRAPL')}"


def markdown() -> str:
    """The table as it stands in docs/measuring.md."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads(), ("---",) * len(heads()), *rows()))


def _truth(case: Case) -> str:
    clock = Clock()
    with case.on(clock):
        for _ in range(240):
            clock.advance(SECONDS / 240)
    truth = case.truth()
    known = [joules for joules in truth.values() if joules is not None]
    if case.partial is not None:
        name, at_s, joules = case.partial
        others = f"{_joules(sum(known))} and " if known else ""
        return f"{others}{name} {_joules(joules)} until {at_s:.0f} s"
    unknown = [name for name, joules in truth.items() if joules is None]
    return ", ".join([*([_joules(sum(known))] if known else []), *(f"{name} unreadable" for name in unknown)])


def _on_a_fresh_tree(build: Callable[[Path], Case], read: Callable[[Case], str]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        return read(build(Path(directory) / "powercap"))


def _joules(value: float) -> str:
    return f"{value:,.0f} J"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)


if __name__ == "__main__":
    print(markdown())
