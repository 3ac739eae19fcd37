"""RAPL against simulated powercap trees whose truth is known by construction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from profilers.cpu.powercap import find_zones
from profilers.cpu.rapl import CounterError, RaplMeter, step_uj
from profilers.measurement import Measurement
from profilers.reading import Reading
from tests.profilers.cpu.trees import (
    CASES,
    SECONDS,
    Case,
    mirrored_dies,
    mirrored_mmio,
    psys,
    reset,
    unreadable,
    vanishing,
)
from tests.profilers.simulation import Clock, Counter, Tree, window


def read(case: Case, seconds: float = SECONDS) -> dict[str, Reading]:
    clock = Clock()
    with case.on(clock):
        return window(RaplMeter(case.tree.root, clock), clock, seconds)


@pytest.mark.parametrize("build", CASES, ids=[build.__name__ for build in CASES])
def test_every_component_is_within_one_percent_of_the_truth_or_absent(
    build: Callable[[Path], Case], tmp_path: Path
) -> None:
    case = build(tmp_path / "powercap")
    seen = read(case)
    truth = case.truth()
    assert {name for name, reading in seen.items() if reading.component.in_total} == set(truth)
    for name, joules in truth.items():
        reading = seen[name]
        if joules is None:
            assert reading.status == "absent"
            assert reading.energy_j is None
            assert reading.reason
        else:
            assert reading.status == "measured"
            assert reading.energy_j == pytest.approx(joules, rel=0.01)
    total = Measurement(SECONDS, tuple(seen.values())).total
    known = [joules for joules in truth.values() if joules is not None]
    assert total.energy_j == (pytest.approx(sum(known), rel=0.01) if len(known) == len(truth) else None)


def test_a_zone_that_vanishes_is_absent_with_what_was_read_until_then(tmp_path: Path) -> None:
    case = vanishing(tmp_path / "powercap")
    reading = read(case)["package-1"]
    assert case.partial is not None and reading.partial is not None
    assert reading.partial.energy_j == pytest.approx(case.partial[2], rel=0.01)
    assert reading.partial.until_s == pytest.approx(40.0, abs=0.3)
    assert "40" in (reading.reason or "")


def test_permission_denied_names_the_remedy(tmp_path: Path) -> None:
    case = unreadable(tmp_path / "powercap")
    clock = Clock()
    with case.on(clock):
        (lacking,) = RaplMeter(case.tree.root, clock).unreadable()
    assert "no permission" in lacking.why
    assert lacking.remedy is not None
    for word in ("CVE-2020-8694", "sudo chmod a+r", "udev"):
        assert word in lacking.remedy


def test_mirrored_dies_are_said(tmp_path: Path) -> None:
    reading = read(mirrored_dies(tmp_path / "powercap"))["package-0"]
    assert any("counted once" in note for note in reading.notes)


def test_the_main_control_type_is_preferred_and_mmio_stands_in(tmp_path: Path) -> None:
    case = mirrored_mmio(tmp_path / "powercap")
    hidden = case.tree.energy_file("intel-rapl:0")
    case.hidden = (hidden,)
    assert read(case)["package-0"].energy_j == pytest.approx(28.0 * SECONDS, rel=0.01)


def test_psys_is_read_and_not_added(tmp_path: Path) -> None:
    case = psys(tmp_path / "powercap")
    seen = read(case)
    assert seen["psys"].energy_j == pytest.approx(40.0 * SECONDS, rel=0.01)
    assert Measurement(SECONDS, tuple(seen.values())).total.components == ("package-0",)


def test_psys_alone_is_the_total(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap")
    tree.add("intel-rapl:0", "psys", Counter(40.0))
    seen = read(Case("", tree, dict))
    assert Measurement(SECONDS, tuple(seen.values())).total.energy_j == pytest.approx(40.0 * SECONDS, rel=0.01)


def test_a_die_that_mirrors_and_vanishes_changes_nothing(tmp_path: Path) -> None:
    case = mirrored_dies(tmp_path / "powercap")
    case.events = [(20.0, lambda: case.tree.remove("intel-rapl:1"))]
    assert read(case)["package-0"].energy_j == pytest.approx(68.0 * SECONDS, rel=0.01)


def test_an_independent_die_that_vanishes_makes_its_package_absent(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap")
    tree.add("intel-rapl:0", "package-0-die-0", Counter(90.0))
    tree.add("intel-rapl:1", "package-0-die-1", Counter(75.0, 800_000_000.0))
    case = Case("", tree, dict, events=[(20.0, lambda: tree.remove("intel-rapl:1"))])
    reading = read(case)["package-0"]
    assert reading.status == "absent"
    assert reading.partial is not None
    assert reading.partial.energy_j == pytest.approx((90.0 + 75.0) * 20.0, rel=0.02)


def test_a_counter_that_stands_still_is_not_a_measured_zero(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap")
    tree.add("intel-rapl:0", "package-0", Counter(0.0))
    reading = read(Case("", tree, dict))["package-0"]
    assert (reading.status, reading.energy_j) == ("absent", None)
    assert "did not move" in (reading.reason or "")


def test_a_window_too_short_for_the_counter_is_refused(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap")
    tree.add("intel-rapl:0", "package-0", Counter(50.0))
    reading = read(Case("", tree, dict), seconds=0.004)["package-0"]
    assert reading.status == "absent"
    assert "measure_repeatedly" in (reading.reason or "")


def test_a_reset_is_not_taken_for_a_wrap(tmp_path: Path) -> None:
    case = reset(tmp_path / "powercap")
    reading = read(case)["package-0"]
    assert reading.status == "absent"
    assert "reset" in (reading.reason or "")
    assert case.partial is not None and reading.partial is not None
    assert reading.partial.energy_j == pytest.approx(case.partial[2], rel=0.01)


def test_the_small_range_is_looked_at_more_often(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap")
    tree.add("intel-rapl:0", "package-0", Counter(200.0, 0.0, 800_000_000))
    assert RaplMeter(tree.root).prepare().period_s == pytest.approx(800.0 / 2000.0 / 4)


def test_zones_are_found_once_through_every_link(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "powercap")
    tree.add("intel-rapl:10", "package-1", Counter(1.0))
    tree.add("intel-rapl:2", "package-0", Counter(1.0))
    tree.add("intel-rapl:2:0", "dram", Counter(1.0))
    assert [zone.zone_id for zone in find_zones(tree.root)] == ["intel-rapl:2", "intel-rapl:2:0", "intel-rapl:10"]


@pytest.mark.parametrize(
    ("before", "after", "limit", "elapsed_s", "expected"),
    [
        (100, 250, 1_000_000_000_000, 1.0, 150),
        (999_999_999_900, 100, 1_000_000_000_000, 1.0, 200),
        (7, 7, 1_000_000_000_000, 1.0, 0),
        (100, 250, None, 1.0, 150),
    ],
)
def test_a_step_of_the_counter(before: int, after: int, limit: int | None, elapsed_s: float, expected: int) -> None:
    assert step_uj(before, after, limit, elapsed_s) == expected  # hand arithmetic


@pytest.mark.parametrize(
    ("before", "after", "limit", "elapsed_s", "word"),
    [
        (250, 100, None, 1.0, "max_energy_range_uj"),
        (250, 2_000_000_000_000, 1_000_000_000_000, 1.0, "beyond its own range"),
        (900_000_000_000, 100, 1_000_000_000_000, 1.0, "reset"),
        (0, 900_000_000_000, 1_000_000_000_000, 1.0, "reset"),
        (0, 1, 1_000_000_000, 10.0, "more than once"),
    ],
)
def test_a_step_that_nothing_explains_is_an_error(
    before: int, after: int, limit: int | None, elapsed_s: float, word: str
) -> None:
    with pytest.raises(CounterError, match=word):
        step_uj(before, after, limit, elapsed_s)
