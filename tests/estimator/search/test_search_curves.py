"""Simulated learning curves: the power law by hand, and the spreads that they state."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from estimator.search import Curves
from estimator.search.curves import World


def test_a_curve_without_spread_is_the_power_law():
    """By hand: 0.3 + 0.7 e^-0.7 is 1, 0.731 and 0.624 after one, two and three epochs."""
    world = World(Curves(spread=0, rate_spread=0, noise=0), seed=1)
    expected = [0.3 + 0.7 * e**-0.7 for e in (1, 2, 3)]
    assert world.curve(5, 3, {}, {}) == pytest.approx(expected)
    assert expected == pytest.approx([1.0, 0.7309, 0.6244], abs=1e-4)


def test_the_spread_of_final_losses_is_the_stated_one():
    """log(floor) over many worlds, read off a late epoch of noiseless curves that fall fast."""
    distribution = {"x": optuna.distributions.FloatDistribution(0, 1)}
    curves = Curves(spread=0.4, rate=3.0, rate_spread=0, noise=0)
    positions = np.random.default_rng(0).random(1500)
    floors = [World(curves, seed).curve(0, 400, {"x": p}, distribution)[-1] for seed, p in enumerate(positions)]
    assert np.std(np.log(floors)) == pytest.approx(0.4, rel=0.08)
    assert np.median(floors) == pytest.approx(0.3, rel=0.05)


def test_parameters_explain_the_stated_share():
    """With all of it explained, trials of equal parameters end alike; with none of it, parameters say nothing."""
    distributions = {
        "x": optuna.distributions.FloatDistribution(1e-3, 1, log=True),
        "kind": optuna.distributions.CategoricalDistribution(["a", "b"]),
    }
    ends = {}
    for explained in (0.0, 1.0):
        world = World(Curves(explained=explained, rate_spread=0, noise=0, rate=3.0), seed=3)
        ends[explained] = [
            [world.curve(trial, 300, {"x": x, "kind": kind}, distributions)[-1] for trial in range(3)]
            for x, kind in ((1e-3, "a"), (1.0, "a"), (1e-3, "b"))
        ]
    assert all(np.ptp(of_one) < 1e-12 for of_one in ends[1.0])
    assert len({round(of_one[0], 9) for of_one in ends[1.0]}) == 3
    assert all(np.ptp(of_one) > 1e-3 for of_one in ends[0.0])
    assert ends[0.0][0] == ends[0.0][1] == ends[0.0][2]


def test_tpe_learns_in_these_worlds():
    """Later trials of a TPE study end better than its first, random ones: curves carry what a sampler can learn."""

    def objective(trial, world):
        params = {"x": trial.suggest_float("x", 0, 1), "y": trial.suggest_float("y", 0, 1)}
        return world.curve(trial.number, 30, params, trial.distributions)[-1]

    gains = []
    for seed in range(6):
        world = World(Curves(explained=0.9), seed)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(lambda trial, world=world: objective(trial, world), n_trials=40)
        values = [t.value for t in study.trials]
        gains.append(np.mean(values[:10]) - np.mean(values[25:]))
    assert np.mean(gains) > 0
