"""A search priced before it runs: the price of a trial, samplers, pruners, the distribution.

Expected values are hand arithmetic on profiles of round numbers, the price of one model as `estimate` tells it, or a
law that holds whatever is drawn.
"""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator import Scenario, estimate
from estimator.base.errors import ScenarioError
from estimator.energy.uncertainty import Interval, log_normal
from estimator.search import Curves, Pricer, search
from estimator.search.answer import mixed
from estimator.search.plan import Unit
from estimator.search.simulate import Simulation
from estimator.search.strategies import PRUNERS, SAMPLERS
from estimator.sources.loaded import LoadedModel
from tests.estimator.networks import mlp
from tests.estimator.profiles import profile
from tests.estimator.search import search_spaces
from tests.estimator.search.plans import plan_of, training_j
from tests.estimator.tracing import on_meta

# ---- the price of a trial


def test_a_candidate_costs_what_its_estimate_says():
    plan, net = plan_of(search_spaces.mlps), mlp(10, 8, 16, 3)
    priced = Pricer(plan.scenario, plan.hardware).price(LoadedModel(net, "net", "test"), 32).sample * (320 * 4)
    footprint = estimate(net, plan.scenario, hardware=plan.hardware)
    assert priced.energy_j.value == pytest.approx(footprint.training.stage.energy_j.value)
    assert priced.duration_s.high == pytest.approx(footprint.training.stage.duration_s.high)
    assert priced.carbon_kg == pytest.approx(footprint.training.stage.carbon_kg)


def test_structural_duplicates_are_priced_once():
    pricer = Pricer(Scenario(), profile())
    for _ in range(3):
        for widths in ((8, 3), (16, 3)):
            pricer.price(LoadedModel(mlp(10, *widths), "net", "test"), 32)
    pricer.price(LoadedModel(mlp(10, 8, 3), "net", "test"), 64)  # another batch size is another price
    assert (pricer.priced, pricer.repeated, pricer.whole) == (7, 4, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"freeze": ("0",)},
        {"overhead": 0.8},
        {"dtype": "bfloat16"},
        {"autocast": "bf16"},
        {"accumulate": 4},
        {"compile": "reduce-overhead"},
    ],
)
def test_the_scenario_holds_for_candidates_too(options):
    net, scenario = mlp(10, 8, 16, 3), Scenario(samples=32, epochs=1, **options)
    priced = Pricer(scenario, profile()).price(LoadedModel(net, "net", "test"), 32).sample * 32
    stage = estimate(net, scenario, hardware=profile()).training.stage
    assert priced.energy_j.value == pytest.approx(stage.energy_j.value)
    assert priced.duration_s.value == pytest.approx(stage.duration_s.value)


def test_devices_of_a_search_run_trials_side_by_side():
    one, four = (
        Pricer(Scenario(devices=devices), profile()).price(LoadedModel(mlp(10, 8, 3), "net", "test"), 32).sample
        for devices in (1, 4)
    )
    assert four.energy_j == one.energy_j
    assert four.duration_s.value == pytest.approx(one.duration_s.value / 4)


def test_a_search_of_one_model_is_its_training_times_the_trials():
    plan = plan_of(search_spaces.one_linear, trials=7)
    cost = search(plan)
    assert cost.stage.energy_j.value == pytest.approx(7 * training_j(mlp(10, 3), plan))
    assert (cost.trials, cost.failed_trials, cost.studies) == (7, 0, 3)
    assert cost.epochs_run == Interval(28.0, 28.0, 28.0)


def test_a_search_is_the_sum_of_its_trials():
    """A grid of 2 x 3: every study draws each of three widths twice."""
    plan = plan_of(search_spaces.six_points, sampler="grid", trials=6)
    expected = 2 * sum(training_j(mlp(10, width), plan) for width in (1, 2, 3))
    assert search(plan).stage.energy_j.value == pytest.approx(expected)


def test_a_grid_ends_when_it_has_no_more_points():
    cost = search(plan_of(search_spaces.six_points, sampler="grid", trials=50, studies=1))
    assert cost.trials == 6
    assert cost.warnings == ("a study ends after 6 of 50 trials: its sampler has no more to draw",)


def test_a_trial_may_have_its_own_epochs_samples_and_batch_size():
    cost = search(plan_of(search_spaces.own_amounts, trials=2, epochs=10, samples=9999))
    scenario = Scenario(epochs=3, samples=500, batch_size=50, pue=1.0)
    one = estimate(mlp(10, 3), scenario, hardware=profile()).training.stage
    assert cost.stage.energy_j.value == pytest.approx(2 * one.energy_j.value)
    assert cost.epochs_run.value == 6


def test_the_example_input_of_a_candidate_is_what_it_is_fed_with():
    cost = search(plan_of(search_spaces.with_example, trials=1))
    net = on_meta(lambda: search_spaces.with_example(optuna.trial.FixedTrial({"channels": 4}))[0])
    scenario = Scenario(epochs=4, samples=320, pue=1.0, inputs=("3x20x20",))
    assert cost.stage.energy_j.value == pytest.approx(
        estimate(net, scenario, hardware=profile()).training.stage.energy_j.value
    )


def test_what_was_not_counted_and_what_was_guessed_is_said():
    cost = search(plan_of(search_spaces.with_a_decomposition, trials=2, studies=1))
    assert cost.warnings == (
        "not counted in some candidates (ops without a FLOP formula; their bytes are): aten._linalg_svd",
        "guessed in some candidates, since only data would tell: a condition in the model: False "
        "(the dearer way: an upper bound)",  # which negates its input
    )


# ---- samplers, pruners, early stopping


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_searches(sampler):
    cost = search(plan_of(search_spaces.mlps, sampler=sampler, studies=1))
    assert cost.trials == 6
    assert cost.stage.energy_j.value > 0
    assert cost.epochs_run.value == 24


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_lets_trials_live_at_most_all_epochs(pruner):
    plan = plan_of(search_spaces.one_linear, trials=12, epochs=20, pruner=pruner, studies=2)
    cost, all_j = search(plan), 12 * training_j(mlp(10, 3), plan)
    assert 0 < cost.epochs_run.value <= 12 * 20
    # one model, so that joules are in proportion to epochs
    per_epoch = all_j / (12 * 20)
    assert cost.stage.energy_j.value == pytest.approx(per_epoch * cost.epochs_run.value)


def test_a_percentile_pruner_keeps_its_share():
    """After five trials for a start, one that is not among the best 10% ends after its first epoch."""
    plan = plan_of(search_spaces.one_linear, trials=40, epochs=20, pruner="percentile:10", studies=1)
    costs = Simulation(plan).run(Unit(0, 0, 40))
    assert [c.state for c in costs[:5]] == ["complete"] * 5
    assert {c.epochs_run for c in costs if c.state == "pruned"} <= set(range(1, 21))
    assert sum(c.state == "pruned" for c in costs[5:]) > 25


def test_early_stopping_ends_a_trial_that_no_longer_gets_better():
    """Noise that drowns the curve: the best of the first epochs is not beaten for `patience` epochs at some time."""
    noisy = Curves(noise=3.0)
    plan = plan_of(search_spaces.one_linear, trials=10, epochs=50, patience=2, curves=noisy, studies=1)
    stopped = [c for c in Simulation(plan).run(Unit(0, 0, 10)) if c.state == "stopped"]
    assert len(stopped) > 5
    assert all(3 <= c.epochs_run < 50 for c in stopped)
    smooth = plan_of(search_spaces.one_linear, trials=10, epochs=50, patience=2, curves=Curves(noise=0), studies=1)
    assert {c.state for c in Simulation(smooth).run(Unit(0, 0, 10))} == {"complete"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sampler": "annealing"}, "--sampler is one of random, grid, tpe"),
        ({"pruner": "gardener"}, "--pruner is one of none, median, percentile"),
        ({"pruner": "median:3"}, "--pruner median takes no number"),
        ({"pruner": "percentile:101"}, "--pruner percentile takes a number from 0 to 100"),
        ({"pruner": "halving:one"}, "--pruner halving takes a number from 2"),
        ({"patience": 0}, "--early-stopping is a whole number from 1 up"),
        ({"studies": 0}, "--studies is a whole number from 1 up"),
        ({"curves": Curves(spread=-1)}, "--curve-spread is a number from 0 to 10"),
        ({"curves": Curves(spread=math.nan)}, "--curve-spread is a number from 0 to 10"),
        ({"seed": -1}, "--seed is a whole number from 0 up"),
        ({"trials": 10**9}, "--trials of a search is at most 10,000,000"),
    ],
)
def test_what_no_plan_can_be_is_refused_with_the_remedy(options, sentence):
    with pytest.raises(ScenarioError, match=sentence.replace("[", r"\[")):
        plan_of(search_spaces.mlps, **options)


# ---- the distribution


def test_the_same_seed_gives_the_same_answer_and_another_one_another():
    plan = plan_of(search_spaces.mlps, pruner="median", trials=8, epochs=6)
    again = plan_of(search_spaces.mlps, pruner="median", trials=8, epochs=6)
    assert search(plan).stage == search(again).stage
    assert search(plan_of(search_spaces.mlps, pruner="median", trials=8, epochs=6, seed=1)).stage != search(plan).stage


def test_studies_that_agree_leave_the_machines_interval():
    one = log_normal(10.0, 0.3)
    found = mixed([one] * 5)
    assert found.value == 10.0
    assert (found.low, found.high) == pytest.approx((one.low, one.high), rel=0.02)


def test_a_certain_machine_leaves_the_studies_quantiles():
    totals = [Interval(v, v, v) for v in np.linspace(1, 101, 101)]
    found = mixed(totals)
    assert (found.low, found.value, found.high) == pytest.approx((6.0, 51.0, 96.0), abs=1.0)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(1e-3, 1e9), st.floats(0, 2)), min_size=1, max_size=8), st.floats(1e-3, 1e3))
def test_an_interval_scales_and_holds_its_value(studies, factor):
    totals = [log_normal(value, spread) for value, spread in studies]
    found, scaled = mixed(totals), mixed([t * factor for t in totals])
    assert found.low <= found.value <= found.high
    assert (scaled.low, scaled.value, scaled.high) == pytest.approx(
        (found.low * factor, found.value * factor, found.high * factor)
    )


def test_pruning_makes_the_interval_wider():
    """Relative to its value: how long trials live is luck, which a search without pruning does not depend on."""
    plain, pruned = (
        search(plan_of(search_spaces.one_linear, trials=10, epochs=20, pruner=pruner, studies=10)).stage.energy_j
        for pruner in ("none", "median")
    )
    assert plain.low == pytest.approx(plain.value)
    assert plain.high == pytest.approx(plain.value)
    assert pruned.high > 1.1 * pruned.low
