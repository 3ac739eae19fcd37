"""Fitting: simulated machines are found again, and the data loader's share is hand arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.published.coefficients import COEFFICIENTS, Machine, fit, predictions, starting
from calibration.published.stated import STATED
from estimator.hardware.datasheet import coefficients, published_machines
from tests.calibration.published import simulated


@pytest.fixture(scope="module")
def rows():
    return simulated.rows()


def _errors(rows, model):
    joules, seconds = predictions(rows, model)
    energy = np.array([row.energy_j for row in rows])
    duration = np.array([row.duration_s for row in rows])
    return np.abs(joules / energy - 1), np.abs(seconds / duration - 1)


def test_a_simulated_machine_is_found_again(rows):
    before, after = (_errors(rows, model) for model in (starting("gpu"), fit(rows, "gpu")))
    for start, end in zip(before, after, strict=True):
        assert start.mean() > 0.15
        assert end.mean() < 0.05


def test_what_the_rows_do_not_tell_stays_where_it_starts(rows):
    fitted, start = fit(rows, "gpu"), starting("gpu")
    for name in ("matmul_efficiency_narrow", "attention_efficiency", "exponential_efficiency", "grouped_bandwidth"):
        assert fitted[name] == pytest.approx(start[name], rel=1e-3)
    with_prior = fit(rows, "gpu", {**start, "attention_efficiency": 0.3})
    assert with_prior["attention_efficiency"] == pytest.approx(0.3, rel=1e-3)


def test_no_coefficient_passes_its_cap(rows):
    doubled = [replace(row, energy_j=row.energy_j / 50, duration_s=(row.duration_s or 0) / 50) for row in rows]
    for name, value in fit(doubled, "gpu").items():
        assert value <= COEFFICIENTS["gpu"][name].cap


def test_a_loader_beside_a_gpu_and_on_a_cpu_by_hand(rows):
    # alone the batch takes t; with a loader that takes t too: 2^(1/4) t, and static power for the difference
    row = rows[0]
    (alone_j,), (alone_s,) = Machine((replace(row, floor_s=0.0),)).predict(simulated.TRUTH)
    (joules,), (seconds,) = Machine((replace(row, floor_s=alone_s),)).predict(simulated.TRUTH)
    assert seconds == pytest.approx(2**0.25 * alone_s)
    static_w = simulated.TRUTH["unit_power_w"] * 68  # multiprocessors of an RTX 2080 Ti
    assert joules == pytest.approx(alone_j + static_w * (seconds - alone_s))
    cpu = replace(row, device="xeon-w-2155", floor_s=0.0)
    (_,), (alone_s,) = Machine((cpu,)).predict(starting("cpu"))
    (_,), (seconds,) = Machine((replace(cpu, floor_s=1.0),)).predict(starting("cpu"))
    assert seconds == pytest.approx(alone_s + 1)


def test_what_ships_is_what_is_fitted_or_stated():
    for kind, table in COEFFICIENTS.items():
        shipped = coefficients()[kind]
        assert set(table) | set(STATED[kind]) < set(shipped)
        for name, stated in STATED[kind].items():
            assert shipped[name].value == pytest.approx(stated.value, rel=1e-3), name
        for name, coefficient in table.items():
            assert 0 < shipped[name].value <= coefficient.cap
            assert shipped[name].unit == coefficient.unit
    spreads = {"energy_spread", "duration_spread", "launch_spread"}
    for machine in published_machines().values():
        names = set(machine["coefficients"])
        assert names - spreads in (set(COEFFICIENTS["gpu"]), set(COEFFICIENTS["cpu"]))
