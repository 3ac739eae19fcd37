"""The baselines find costs that are what they assume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.proof.baselines import BASELINES, linear, theta_of
from tests.calibration.published import simulated


@pytest.fixture(scope="module")
def rows():
    return simulated.rows()[:10]


@pytest.mark.parametrize("method", BASELINES)
def test_linear_costs_are_found_again(rows, method):
    features = BASELINES[method]
    weights = {2: (2e-9, 0.5), 3: (3e-12, 2e-9, 0.5)}
    truth = np.array([np.dot(features(row), weights[len(features(row))]) for row in rows])
    found = linear(rows[:6], truth[:6], rows[6:], features)
    assert found.tolist() == pytest.approx(truth[6:].tolist(), rel=1e-6)


def test_costs_are_never_negative(rows):
    falling = np.array([1e3 / (1 + row.workload.flops) for row in rows])
    for features in BASELINES.values():
        assert (linear(rows, falling, rows, features) >= 0).all()


def test_theta_is_five_times_the_measured_inference(rows):
    training = replace(rows[0], phase="training", energy_j=1.0)
    assert theta_of(training, [*rows, training]) == pytest.approx(5 * rows[0].energy_j)
    assert theta_of(replace(training, model="torchvision/another"), rows) is None
