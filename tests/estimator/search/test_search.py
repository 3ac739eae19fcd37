"""A search priced before it runs: samplers, pruners, learning curves, the distribution, the command.

Expected values are hand arithmetic on profiles of round numbers, the price of one model as `estimate` tells it, or a
law that holds whatever is drawn.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.progress import Task, TaskID

from estimator import Scenario, estimate
from estimator.base.errors import JoulecastError, ModelFileError, ScenarioError
from estimator.commands import main
from estimator.energy.uncertainty import Interval, log_normal
from estimator.report.search import _Pace
from estimator.search import Curves, Plan, Pricer, search
from estimator.search.answer import SearchError, mixed
from estimator.search.curves import World
from estimator.search.plan import Unit
from estimator.search.simulate import Simulation
from estimator.search.space import candidate, load_space
from estimator.search.strategies import PRUNERS, SAMPLERS
from estimator.sources.loaded import LoadedModel
from tests.estimator.networks import mlp
from tests.estimator.profiles import profile
from tests.estimator.report.test_contract import STAGE
from tests.estimator.search import search_spaces
from tests.estimator.tracing import on_meta

HERE = Path(__file__).parent
SPACE = "from torch import nn\n\n\ndef build(trial):\n    return nn.Linear(10, trial.suggest_int('width', 3, 6))\n"


def _plan(space, *, trials=6, epochs=4.0, samples=320.0, **options) -> Plan:
    scenario = Scenario(trials=trials, epochs=epochs, samples=samples, pue=1.0)
    return Plan(space, scenario, **{"hardware": profile(), "studies": 3, **options})


def _training_j(net, plan: Plan) -> float:
    return estimate(net, plan.scenario, hardware=plan.hardware).training.stage.energy_j.value


# ---- the price of a trial


def test_a_candidate_costs_what_its_estimate_says():
    plan, net = _plan(search_spaces.mlps), mlp(10, 8, 16, 3)
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


@pytest.mark.parametrize("options", [{"freeze": ("0",)}, {"overhead": 0.8}, {"dtype": "bfloat16"}, {"devices": 4}])
def test_the_scenario_holds_for_candidates_too(options):
    net, scenario = mlp(10, 8, 16, 3), Scenario(samples=32, epochs=1, **options)
    priced = Pricer(scenario, profile()).price(LoadedModel(net, "net", "test"), 32).sample * 32
    stage = estimate(net, scenario, hardware=profile()).training.stage
    assert priced.energy_j.value == pytest.approx(stage.energy_j.value)
    assert priced.duration_s.value == pytest.approx(stage.duration_s.value)


def test_a_search_of_one_model_is_its_training_times_the_trials():
    plan = _plan(search_spaces.one_linear, trials=7)
    cost = search(plan)
    assert cost.stage.energy_j.value == pytest.approx(7 * _training_j(mlp(10, 3), plan))
    assert (cost.trials, cost.failed_trials, cost.studies) == (7, 0, 3)
    assert cost.epochs_run == Interval(28.0, 28.0, 28.0)


def test_a_search_is_the_sum_of_its_trials():
    """A grid of 2 x 3: every study draws each of three widths twice."""
    plan = _plan(search_spaces.six_points, sampler="grid", trials=6)
    expected = 2 * sum(_training_j(mlp(10, width), plan) for width in (1, 2, 3))
    assert search(plan).stage.energy_j.value == pytest.approx(expected)


def test_a_grid_ends_when_it_has_no_more_points():
    cost = search(_plan(search_spaces.six_points, sampler="grid", trials=50, studies=1))
    assert cost.trials == 6
    assert cost.warnings == ("a study ends after 6 of 50 trials: its sampler has no more to draw",)


def test_a_trial_may_have_its_own_epochs_samples_and_batch_size():
    cost = search(_plan(search_spaces.own_amounts, trials=2, epochs=10, samples=9999))
    scenario = Scenario(epochs=3, samples=500, batch_size=50, pue=1.0)
    one = estimate(mlp(10, 3), scenario, hardware=profile()).training.stage
    assert cost.stage.energy_j.value == pytest.approx(2 * one.energy_j.value)
    assert cost.epochs_run.value == 6


def test_the_example_input_of_a_candidate_is_what_it_is_fed_with():
    cost = search(_plan(search_spaces.with_example, trials=1))
    net = on_meta(lambda: search_spaces.with_example(optuna.trial.FixedTrial({"channels": 4}))[0])
    scenario = Scenario(epochs=4, samples=320, pue=1.0, inputs=("3x20x20",))
    assert cost.stage.energy_j.value == pytest.approx(
        estimate(net, scenario, hardware=profile()).training.stage.energy_j.value
    )


def test_what_was_not_counted_and_what_was_guessed_is_said():
    cost = search(_plan(search_spaces.with_a_transform, trials=2, studies=1))
    assert cost.warnings == (
        "not counted in some candidates (ops without a FLOP formula; their bytes are): aten._fft_r2c",
        "guessed in some candidates, since only data would tell: a condition in the model: True",
    )


# ---- samplers, pruners, early stopping


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_searches(sampler):
    cost = search(_plan(search_spaces.mlps, sampler=sampler, studies=1))
    assert cost.trials == 6
    assert cost.stage.energy_j.value > 0
    assert cost.epochs_run.value == 24


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_lets_trials_live_at_most_all_epochs(pruner):
    plan = _plan(search_spaces.one_linear, trials=12, epochs=20, pruner=pruner, studies=2)
    cost, all_j = search(plan), 12 * _training_j(mlp(10, 3), plan)
    assert 0 < cost.epochs_run.value <= 12 * 20
    # one model, so that joules are in proportion to epochs
    per_epoch = all_j / (12 * 20)
    assert cost.stage.energy_j.value == pytest.approx(per_epoch * cost.epochs_run.value)


def test_a_percentile_pruner_keeps_its_share():
    """After five trials for a start, one that is not among the best 10% ends after its first epoch."""
    plan = _plan(search_spaces.one_linear, trials=40, epochs=20, pruner="percentile:10", studies=1)
    costs = Simulation(plan).run(Unit(0, 0, 40))
    assert [c.state for c in costs[:5]] == ["complete"] * 5
    assert {c.epochs_run for c in costs if c.state == "pruned"} <= set(range(1, 21))
    assert sum(c.state == "pruned" for c in costs[5:]) > 25


def test_early_stopping_ends_a_trial_that_no_longer_gets_better():
    """Noise that drowns the curve: the best of the first epochs is not beaten for `patience` epochs at some time."""
    noisy = Curves(noise=3.0)
    plan = _plan(search_spaces.one_linear, trials=10, epochs=50, patience=2, curves=noisy, studies=1)
    stopped = [c for c in Simulation(plan).run(Unit(0, 0, 10)) if c.state == "stopped"]
    assert len(stopped) > 5
    assert all(3 <= c.epochs_run < 50 for c in stopped)
    smooth = _plan(search_spaces.one_linear, trials=10, epochs=50, patience=2, curves=Curves(noise=0), studies=1)
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
        _plan(search_spaces.mlps, **options)


# ---- learning curves


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


# ---- the distribution


def test_the_same_seed_gives_the_same_answer_and_another_one_another():
    plan = _plan(search_spaces.mlps, pruner="median", trials=8, epochs=6)
    again = _plan(search_spaces.mlps, pruner="median", trials=8, epochs=6)
    assert search(plan).stage == search(again).stage
    assert search(_plan(search_spaces.mlps, pruner="median", trials=8, epochs=6, seed=1)).stage != search(plan).stage


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
        search(_plan(search_spaces.one_linear, trials=10, epochs=20, pruner=pruner, studies=10)).stage.energy_j
        for pruner in ("none", "median")
    )
    assert plain.low == pytest.approx(plain.value)
    assert plain.high == pytest.approx(plain.value)
    assert pruned.high > 1.1 * pruned.low


# ---- what fails


def test_a_trial_that_fails_is_counted_with_its_number_and_the_rest_goes_on():
    plan = _plan(search_spaces.third_fails, trials=5)
    cost = search(plan)
    assert (cost.trials, cost.failed_trials) == (5, 1)
    assert cost.stage.energy_j.value == pytest.approx(4 * _training_j(mlp(10, 3), plan))
    assert [(study, trial) for study, trial, _ in cost.failures] == [(0, 2), (1, 2), (2, 2)]
    assert "RuntimeError: no such net" in cost.failures[0][2]
    assert "line" in cost.failures[0][2]


def test_a_candidate_that_does_not_run_fails_alone():
    cost = search(_plan(search_spaces.wrong_shape, sampler="grid", trials=2, studies=1))
    assert (cost.trials, cost.failed_trials) == (2, 1)
    assert "does not run on an input of" in cost.failures[0][2]


def test_a_search_without_a_finished_trial_says_why():
    with pytest.raises(SearchError, match=r"no trial of the search could be priced: trial 0 says: .*KeyError"):
        search(_plan(search_spaces.always_fails))


def test_a_space_may_prune_a_trial_itself():
    def build(trial):
        if trial.suggest_int("x", 0, 9) < 9:
            raise optuna.TrialPruned
        return mlp(10, 3)

    costs = Simulation(_plan(build, sampler="grid", trials=10)).run(Unit(0, 0, 10))
    assert sorted(c.state for c in costs) == ["complete"] + ["pruned"] * 9
    assert all(c.energy_j.value == 0 for c in costs if c.state == "pruned")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("epochs", -1, "the trial's epochs is a number above 0, not -1"),
        ("samples", "many", "the trial's samples is a number above 0, not 'many'"),
        ("batch_size", "8", "the trial's batch_size is a number above 0, not '8'"),
        ("batch_size", 2.5, "the trial's batch_size is a whole number, not 2.5"),
    ],
)
def test_amounts_of_a_trial_that_are_none_are_refused(name, value, sentence):
    def build(trial):
        trial.set_user_attr(name, value)
        return mlp(10, 3)

    trial = optuna.create_study().ask()
    with pytest.raises(JoulecastError, match=sentence):
        candidate(build, trial, Scenario())


def test_building_leaves_torch_as_it_was():
    from torch import nn

    before = nn.Linear.reset_parameters
    candidate(search_spaces.mlps, optuna.create_study().ask(), Scenario())
    assert nn.Linear.reset_parameters is before
    assert nn.Linear(3, 3).weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def make(trial):\n    pass\n", "has no build"),
        ("build = 3\n", "is no function: define `def build"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_file_that_is_no_space_says_so(tmp_path, text, sentence):
    path = tmp_path / "space.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelFileError, match=sentence):
        load_space(str(path))


# ---- the command


@pytest.mark.parametrize("spec", ["missing.py", "missing.py:build", "./missing", "."])
def test_a_space_that_is_not_there_says_so(spec):
    with pytest.raises(ModelFileError, match=r"there is no file .*: give the path of the Python file with `def build"):
        load_space(spec)


@pytest.fixture
def space(tmp_path) -> str:
    path = tmp_path / "space.py"
    path.write_text(SPACE, encoding="utf-8")
    return str(path)


def _run(*args: str):
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["search", *args])


OPTIONS = ("--trials", "8", "--epochs", "5", "--samples", "1000", "--studies", "2", "--hardware", "i9-9900k")


def test_json_has_the_contracts_keys(space):
    result = _run(space, *OPTIONS, "--pruner", "percentile:10", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert set(told) == {
        "schema_version", "search", "trials", "epochs_run", "failed_trials", "failures", "studies", "hardware",
        "assumptions", "warnings",
    }  # fmt: skip
    assert set(told["search"]) == STAGE
    assert (told["trials"], told["failed_trials"], told["failures"]) == (8, 0, [])
    assert list(told["epochs_run"]) == ["value", "low", "high"]
    assert told["epochs_run"]["value"] < 40
    assert told["search"]["energy_kwh"] == pytest.approx(told["search"]["energy_j"]["value"] / 3.6e6)
    given = {a["name"]: (a["value"], a["status"]) for a in told["assumptions"]}
    assert given["trials"] == (8, "given")
    assert given["sampler"] == ("tpe", "default")
    assert given["pruner"] == ("percentile:10", "given")
    assert given["curve spread"] == (0.3, "default")


def test_text_says_trials_energy_epochs_and_assumptions(space):
    result = _run(space, *OPTIONS, "--sampler", "random")
    assert result.exit_code == 0, result.stderr
    for word in (
        "search (8 trials)",
        "90% interval",
        "kg CO2e",
        "40 epochs are run",
        "--sampler",
        "2 simulated studies",
    ):
        assert word in result.stdout, word


def test_a_wrong_option_is_one_line_with_the_remedy(space):
    result = _run(space, *OPTIONS, "--pruner", "gardener")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("estimate: --pruner is one of")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_search_has_no_options_that_it_does_not_read():
    names = {option.name for option in main.commands["search"].params}
    assert {"trials", "epochs", "samples", "batch_size", "hardware", "pue", "sampler", "dask", "jobs"} <= names
    assert not names & {"search_epochs", "search_samples", "inferences"}
    assert {option.name for option in main.commands["model"].params} >= {"search_epochs", "inferences"}


def test_the_examples_space_can_be_searched():
    space = Path(__file__).parents[3] / "examples" / "search_space.py"
    cost = search(_plan(str(space), sampler="tpe", trials=4, studies=1))
    assert cost.failed_trials == 0
    assert math.isfinite(cost.stage.energy_j.value)


def test_the_pace_is_that_of_this_run_alone():
    """By hand: 40 of 100 trials were there before; 10 more in 5 s are 2 a second, so the last 50 take 25 s."""
    task = Task(TaskID(0), "trials", 100, 40, _get_time=lambda: 5.0, fields={"before": 40})
    task.start_time = 0.0
    assert _Pace().render(task).plain == ""
    task.completed = 50
    assert _Pace().render(task).plain == "2.0/s, 25.0 s left"
