"""What fails in a search: trials, candidates, amounts, files of spaces. Each is said, and the rest goes on."""

from __future__ import annotations

import optuna
import pytest

from estimator import Scenario
from estimator.base.errors import JoulecastError, ModelFileError
from estimator.search import search
from estimator.search.answer import SearchError
from estimator.search.plan import Unit
from estimator.search.simulate import Simulation
from estimator.search.space import candidate, load_space
from tests.estimator.networks import mlp
from tests.estimator.search import search_spaces
from tests.estimator.search.plans import plan_of, training_j


def test_a_trial_that_fails_is_counted_with_its_number_and_the_rest_goes_on():
    plan = plan_of(search_spaces.third_fails, trials=5)
    cost = search(plan)
    assert (cost.trials, cost.failed_trials) == (5, 1)
    assert cost.stage.energy_j.value == pytest.approx(4 * training_j(mlp(10, 3), plan))
    assert [(study, trial) for study, trial, _ in cost.failures] == [(0, 2), (1, 2), (2, 2)]
    assert "RuntimeError: no such net" in cost.failures[0][2]
    assert "line" in cost.failures[0][2]


def test_a_candidate_that_does_not_run_fails_alone():
    cost = search(plan_of(search_spaces.wrong_shape, sampler="grid", trials=2, studies=1))
    assert (cost.trials, cost.failed_trials) == (2, 1)
    assert "does not run on an input of" in cost.failures[0][2]


def test_a_search_without_a_finished_trial_says_why():
    with pytest.raises(SearchError, match=r"no trial of the search could be priced: trial 0 says: .*KeyError"):
        search(plan_of(search_spaces.always_fails))


def test_a_space_may_prune_a_trial_itself():
    def build(trial):
        if trial.suggest_int("x", 0, 9) < 9:
            raise optuna.TrialPruned
        return mlp(10, 3)

    costs = Simulation(plan_of(build, sampler="grid", trials=10)).run(Unit(0, 0, 10))
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


@pytest.mark.parametrize("spec", ["missing.py", "missing.py:build", "./missing", "."])
def test_a_space_that_is_not_there_says_so(spec):
    with pytest.raises(ModelFileError, match=r"there is no file .*: give the path of the Python file with `def build"):
        load_space(spec)
