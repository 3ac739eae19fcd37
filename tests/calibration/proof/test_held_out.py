"""What is left out is not seen: neither by the fit, nor by the prior, nor by the interval."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from calibration.learning.spreads import Z, spread_of, spread_of_devices
from calibration.proof.held_out import cases, shipped
from calibration.proof.scores import score
from calibration.published.left_out import devices_left_out, networks_left_out
from calibration.published.rows import Row
from estimator.workload.ops import Op, Workload
from tests.calibration.published import simulated


@pytest.fixture(scope="module")
def rows():
    return simulated.rows()


@pytest.fixture(scope="module")
def judged(rows):
    return list(cases(rows))


def test_spread_by_hand():
    # ten errors: ceil(0.9 x 11) = 10th, the largest; nineteen: the 18th
    assert spread_of([0.1] * 9 + [-0.3]) == pytest.approx(0.3 / Z)
    assert spread_of([0.1] * 17 + [0.2, -0.5]) == pytest.approx(0.2 / Z)
    # eight have no such quantile: the largest, or what is known otherwise if that is more
    assert spread_of([0.1] * 8) == pytest.approx(0.1 / Z)
    assert spread_of([0.1] * 8, at_least=0.4) == 0.4
    assert spread_of([], at_least=0.4) == 0.4


def test_devices_are_the_draws_by_hand():
    # two devices missed by +0.2 and -0.2, their rows by nothing more: t of 2 degrees of freedom is 2.92 at 95%
    assert spread_of_devices([[0.2] * 20, [-0.2] * 5]) == pytest.approx(0.2 * 2.92 / Z, rel=1e-3)
    # no device is missed on the whole: what is left are the rows
    about = [0.1, -0.1] * 10
    assert spread_of_devices([about, about]) == pytest.approx(0.1 / Z)
    # both, as independent errors; a device without rows says nothing
    both = [[0.3, 0.1] * 10, [-0.1, -0.3] * 10, []]
    assert spread_of_devices(both) == pytest.approx(math.hypot(0.2 * 2.92, 0.1) / Z, rel=1e-3)


def _spoilt(rows, which, factor=100):
    return [replace(row, energy_j=factor * row.energy_j) if which(row) else row for row in rows]


def test_a_network_left_out_is_not_seen(rows):
    before = networks_left_out(rows, "gpu")
    after = networks_left_out(_spoilt(rows, lambda row: row.network == "alpha"), "gpu")
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.group == "alpha"]
    assert len(pairs) == 4
    assert all((a.energy_j, a.duration_s) == (b.energy_j, b.duration_s) for a, b in pairs)
    # and the others do see it
    assert any(a.energy_j != b.energy_j for a, b in zip(before, after, strict=True) if a.group != "alpha")


def test_a_device_left_out_is_not_seen(rows):
    before = devices_left_out(rows, "gpu")
    after = devices_left_out(_spoilt(rows, lambda row: row.device == "rtx-2080-ti"), "gpu")
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.group == "rtx-2080-ti"]
    assert len(pairs) == 10
    assert all(a.energy_j == b.energy_j for a, b in pairs)
    assert devices_left_out([row for row in rows if row.device == "rtx-2080-ti"], "gpu") == []


def test_an_interval_is_not_of_its_own_rows(rows, judged):
    spoilt = _spoilt(rows, lambda row: row.network == "alpha" and row.device == "rtx-2080-ti", factor=3)

    def width(of):
        found = [c for c in of if (c.split, c.method, c.target) == ("family left out", "joulecast", "energy")]
        return [(c.high or 0) / c.predicted for c in found if c.dataset.startswith("NVIDIA GeForce") and c.measured > 0]

    before, after = width(judged), width(cases(spoilt))
    assert after[2] > before[2] * 1.5  # beta's rows have seen that alpha can be missed by a factor of three


def test_every_method_is_scored_in_every_split_and_ours_finds_its_own_truth(judged):
    scores = score(judged)
    energy = {(s.dataset, s.split, s.method): s for s in scores if s.target == "energy"}
    assert {split for _, split, _ in energy} == {"family left out", "device left out"}
    assert {method for *_, method in energy} == {"joulecast", "parameters", "FLOPs", "FLOPs + bytes + constant"}
    for (_, _, method), found in energy.items():
        assert found.n == 10
        assert (found.coverage_90 is None) == (method != "joulecast")
        assert method != "joulecast" or found.mean_ape < 0.15


def test_the_profiles_as_shipped_take_rows_of_any_machine(rows):
    found = list(shipped(rows))
    assert len(found) == 2 * len(rows)
    splits = {c.dataset: c.split for c in found}
    assert splits["NVIDIA Quadro RTX 5000 inference"] == "as shipped (published)"
    assert splits["NVIDIA GeForce RTX 2080 Ti inference"] == "as shipped (datasheet)"
    assert all(c.low < c.predicted < c.high for c in found)


def test_single_operations_are_judged_by_device_and_by_what_can_tell_them():
    def product(device: str, size: int) -> Row:
        square = (size, size)
        op = Op(
            "forward",
            "mm",
            "matmul",
            2 * size**3,
            4 * size**2,
            2 * size**2,
            "bfloat16",
            (square,) * 2,
            (square,),
            "",
            "",
        )
        of = {"device": device, "model": "ops/products", "phase": "products", "dtype": "bfloat16"}
        beside = {"parameters": None, "energy_j": None, "duration_s": 1.0, "clock_hz": None, "floor_s": 0.0}
        return Row(**of, workload=Workload((op,), 1, 0), **beside, multi_tensor=True, graphed=True, burst=True)

    ops = [product(device, size) for device in ("a100-sxm4-80gb", "h100-sxm", "l40s") for size in (1024, 2048, 4096)]
    truth = [replace(row, energy_j=None) for row in simulated.measured(ops, simulated.TRUTH)]
    found = list(cases([], truth))
    assert {case.split for case in found} == {"device left out"}
    assert {case.target for case in found} == {"duration"}  # nobody measured joules
    assert {case.method for case in found} == {"joulecast", "FLOPs", "FLOPs + bytes + constant"}
    ours = [case for case in found if case.method == "joulecast"]
    assert len(ours) == 9
    assert all(case.predicted == pytest.approx(case.measured, rel=0.2) for case in ours)


def test_a_network_left_out_is_not_seen_on_other_devices_or_in_other_libraries(rows):
    others = [replace(row, device="nvidia-t4", model=row.model.replace("torchvision/", "timm/")) for row in rows[:4]]
    before = networks_left_out(rows, "gpu", others)
    after = networks_left_out(rows, "gpu", _spoilt(others, lambda row: row.family == "alpha"))
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.group == "alpha"]
    assert len(pairs) == 4
    assert all((a.energy_j, a.duration_s) == (b.energy_j, b.duration_s) for a, b in pairs)
