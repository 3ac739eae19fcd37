"""The powercap trees that every meter is compared on, with what really was drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.profilers.simulation import Clock, Counter, Tree, denied

SECONDS = 60.0


@dataclass
class Case:
    """A tree, the joules drawn in the window per component (None: nobody can read them), and what happens in it."""

    title: str
    tree: Tree
    truth: Callable[[], dict[str, float | None]]
    hidden: tuple[Path, ...] = ()
    events: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    partial: tuple[str, float, float] | None = None
    """A component that goes silent: its name, when, and the joules that it drew until then."""

    @contextlib.contextmanager
    def on(self, clock: Clock) -> Iterator[None]:
        """Let the tree live on the clock: its counters run, its events happen in time."""
        due, begun_s = list(self.events), clock()

        def pass_by(seconds: float) -> None:
            self.tree.advance(seconds)
            for event in [event for event in due if clock() - begun_s >= event[0] - 1e-9]:
                due.remove(event)
                event[1]()

        clock.passing.append(pass_by)
        try:
            with denied(*self.hidden):
                yield
        finally:
            clock.passing.remove(pass_by)


def one_package(root: Path) -> Case:
    tree = Tree(root)
    package = tree.add("intel-rapl:0", "package-0", Counter(80.0))
    tree.add("intel-rapl:0:0", "core", Counter(50.0))
    tree.add("intel-rapl:0:1", "uncore", Counter(5.0))
    return Case("one package", tree, lambda: {"package-0": package.drawn_j})


def two_packages(root: Path) -> Case:
    tree = Tree(root)
    first = tree.add("intel-rapl:0", "package-0", Counter(150.0))
    second = tree.add("intel-rapl:1", "package-1", Counter(210.0, 900_000_000.0))
    return Case("two packages", tree, lambda: {"package-0": first.drawn_j, "package-1": second.drawn_j})


def package_and_dram(root: Path) -> Case:
    tree = Tree(root)
    package = tree.add("intel-rapl:0", "package-0", Counter(120.0))
    dram = tree.add("intel-rapl:0:0", "dram", Counter(18.0, 70_000_000.0, 65_712_999_613))
    return Case("package and DRAM", tree, lambda: {"package-0": package.drawn_j, "dram-0": dram.drawn_j})


def mirrored_dies(root: Path) -> Case:
    tree = Tree(root)
    shared = Counter(68.0)
    tree.add("intel-rapl:0", "package-0-die-0", shared)
    tree.add("intel-rapl:1", "package-0-die-1", shared)
    return Case("two dies that mirror one counter", tree, lambda: {"package-0": shared.drawn_j})


def independent_dies(root: Path) -> Case:
    tree = Tree(root)
    first = tree.add("intel-rapl:0", "package-0-die-0", Counter(90.0))
    second = tree.add("intel-rapl:1", "package-0-die-1", Counter(75.0, 800_000_000.0))
    return Case("two dies with counters of their own", tree, lambda: {"package-0": first.drawn_j + second.drawn_j})


def mirrored_mmio(root: Path) -> Case:
    tree = Tree(root)
    shared = Counter(28.0)
    tree.add("intel-rapl:0", "package-0", shared)
    tree.add("intel-rapl-mmio:0", "package-0", shared)
    return Case("package shown again by intel-rapl-mmio", tree, lambda: {"package-0": shared.drawn_j})


def psys(root: Path) -> Case:
    tree = Tree(root)
    package = tree.add("intel-rapl:0", "package-0", Counter(25.0))
    tree.add("intel-rapl:1", "psys", Counter(40.0, 60_000_000.0))
    return Case("package and psys", tree, lambda: {"package-0": package.drawn_j})


def wrap(root: Path) -> Case:
    tree = Tree(root)
    near_the_end = Counter(200.0, RANGE_END - 2_000_000_000.0, RANGE_END)
    package = tree.add("intel-rapl:0", "package-0", near_the_end)
    return Case("a wrap inside the window", tree, lambda: {"package-0": package.drawn_j})


RANGE_END = 65_532_610_987


def two_wraps(root: Path) -> Case:
    tree = Tree(root)
    package = tree.add("intel-rapl:0", "package-0", Counter(200.0, 1_000_000.0, 5_000_000_000))
    return Case("two wraps inside the window (small range)", tree, lambda: {"package-0": package.drawn_j})


def vanishing(root: Path) -> Case:
    tree = Tree(root)
    first = tree.add("intel-rapl:0", "package-0", Counter(100.0))
    second = tree.add("intel-rapl:1", "package-1", Counter(140.0, 900_000_000.0))
    return Case(
        "the second of two packages vanishes after 40 s",
        tree,
        lambda: {"package-0": first.drawn_j, "package-1": None},
        events=[(40.0, lambda: tree.remove("intel-rapl:1"))],
        partial=("package-1", 40.0, second.power_w * 40.0),
    )


def reset(root: Path) -> Case:
    tree = Tree(root)
    package = tree.add("intel-rapl:0", "package-0", Counter(50.0, 9_000_000_000.0))

    def to_zero() -> None:
        package.count_uj = 0.0

    return Case(
        "the counter is reset after 40 s",
        tree,
        lambda: {"package-0": None},
        events=[(40.0, to_zero)],
        partial=("package-0", 40.0, package.power_w * 40.0),
    )


def unreadable(root: Path) -> Case:
    tree = Tree(root)
    tree.add("intel-rapl:0", "package-0", Counter(100.0))
    return Case(
        "energy_uj readable by root alone",
        tree,
        lambda: {"package-0": None},
        hidden=(tree.energy_file("intel-rapl:0"),),
    )


def unreadable_dram(root: Path) -> Case:
    tree = Tree(root)
    package = tree.add("intel-rapl:0", "package-0", Counter(100.0))
    tree.add("intel-rapl:0:0", "dram", Counter(10.0))
    return Case(
        "DRAM readable by root alone",
        tree,
        lambda: {"package-0": package.drawn_j, "dram-0": None},
        hidden=(tree.energy_file("intel-rapl:0:0"),),
    )


CASES: tuple[Callable[[Path], Case], ...] = (
    one_package,
    two_packages,
    package_and_dram,
    mirrored_dies,
    independent_dies,
    mirrored_mmio,
    psys,
    wrap,
    two_wraps,
    vanishing,
    reset,
    unreadable,
    unreadable_dram,
)
