"""A real study: trials priced before they train, joules added up, resumed from Optuna's storage.

Training is simulated (a number is returned), and so is the meter: it says 2 J for every epoch that a trial reports.
"""

from __future__ import annotations

import contextlib

import optuna
import pytest

from estimator import Scenario, estimate
from estimator.search import Ledger, Pricer, priced
from estimator.search.real import MEASURED, PREDICTED
from tests.estimator.networks import mlp
from tests.estimator.profiles import profile
from tests.estimator.search.search_spaces import third_fails

SCENARIO = Scenario(epochs=4, samples=320, pue=1.5)
MACHINE = profile()


def build(trial):
    return mlp(10, trial.suggest_categorical("width", [8, 800]), 3)


def _device_j(width: int, epochs: float = 4) -> float:
    """Facility joules of `estimate` over (1 + 0.25) x 1.5: what a meter of the device would read."""
    scenario = Scenario(epochs=epochs, samples=320, pue=1.5)
    return estimate(mlp(10, width, 3), scenario, hardware=MACHINE).training.stage.energy_j.value / (1.25 * 1.5)


def _train(trial, candidate):
    for epoch in range(int(candidate.epochs)):
        trial.report(candidate.params.get("width", 0), epoch)
    return 1.0


def _study(widths=(), **options):
    study = optuna.create_study(**options)
    for width in widths:
        study.enqueue_trial({"width": width})
    return study


def _run(study, trials, train=_train, space=build, **options):
    pricer = Pricer(SCENARIO, MACHINE)
    study.optimize(priced(space, train, pricer, **options), n_trials=trials, callbacks=[Ledger()], catch=(Exception,))
    return Ledger.totals(study)


def test_trials_are_priced_before_they_train():
    study, seen = _study([8, 800]), []

    def train(trial, candidate):
        seen.append(trial.user_attrs[PREDICTED])
        return _train(trial, candidate)

    totals = _run(study, 2, train)
    assert seen == pytest.approx([_device_j(8), _device_j(800)])
    assert totals.trials == 2
    assert totals.predicted_j.value == pytest.approx(sum(seen))
    assert totals.lived_j == pytest.approx(sum(seen))
    assert totals.measured_j is None
    assert study.user_attrs[PREDICTED] == pytest.approx(sum(seen))
    assert study.user_attrs[MEASURED] is None


def test_over_the_budget_a_trial_is_pruned_before_it_trains_and_marked_infeasible():
    study, trained = _study([8, 800]), []
    budget = (_device_j(8) + _device_j(800)) / 2
    totals = _run(study, 2, lambda trial, candidate: trained.append(trial.number) or 1.0, budget_j=budget)
    assert trained == [0]
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED"]
    constraints = [t.constraints["joulecast_energy_j"] for t in study.trials]
    assert constraints == pytest.approx([_device_j(8) - budget, _device_j(800) - budget])
    assert constraints[0] < 0 < constraints[1]
    assert totals.lived_j == pytest.approx(_device_j(8))


def test_as_a_second_objective_the_prediction_is_a_value():
    study = _study([8, 800], directions=["minimize", "minimize"], sampler=optuna.samplers.TPESampler(seed=0))
    totals = _run(study, 2, lambda trial, candidate: 10.0 - candidate.params["width"] / 100, second_objective=True)
    assert [t.values for t in study.trials] == [
        pytest.approx([9.92, _device_j(8)]), pytest.approx([2.0, _device_j(800)]),
    ]  # fmt: skip
    assert len(study.best_trials) == 2
    assert totals.trials == 2


def test_a_pruned_trial_counts_the_epochs_that_it_reported():
    def train(trial, candidate):
        trial.report(1.0, 0)
        raise optuna.TrialPruned

    totals = _run(_study([800]), 1, train)
    assert totals.predicted_j.value == pytest.approx(_device_j(800))
    assert totals.lived_j == pytest.approx(_device_j(800) / 4)


def _metered():
    """A meter of 3 J a block, also where the block is pruned."""

    @contextlib.contextmanager
    def metered():
        joules = []
        try:
            yield lambda: joules[0]
        finally:
            joules.append(3.0)

    return metered


def test_measured_joules_are_added_up_those_of_pruned_trials_too():
    study = _study([8, 800, 8])

    def train(trial, candidate):
        trial.report(1.0, 0)
        if trial.number == 1:
            raise optuna.TrialPruned
        return 1.0

    totals = _run(study, 3, train, metered=_metered())
    assert (totals.measured_j, totals.measured_trials) == (9.0, 3)
    assert study.user_attrs[MEASURED] == 9.0


def test_one_trial_that_was_not_measured_leaves_no_total():
    study = _study([8, 8])
    _run(study, 1, metered=_metered())
    totals = _run(study, 1)
    assert (totals.measured_j, totals.measured_trials, totals.trials) == (None, 1, 2)


def test_a_resumed_study_counts_all_of_its_trials_once(tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(2):
        study = _study([8, 800], study_name="s", storage=storage, load_if_exists=True)
        totals = _run(study, 2, metered=_metered())
    again = optuna.load_study(study_name="s", storage=storage)
    assert Ledger.totals(again) == totals
    assert totals.trials == 4
    assert totals.predicted_j.value == pytest.approx(2 * (_device_j(8) + _device_j(800)))
    assert totals.measured_j == 12.0
    assert again.user_attrs[MEASURED] == 12.0


def test_a_study_without_a_finished_trial_has_no_joules_and_is_no_error():
    assert Ledger.totals(_study()).trials == 0

    def fails(trial, candidate):
        raise RuntimeError("no data")

    totals = _run(_study([8]), 1, fails)
    assert (totals.trials, totals.failed, totals.lived_j, totals.measured_j) == (1, 1, 0.0, None)


def test_a_candidate_that_cannot_be_built_fails_and_the_rest_goes_on():
    totals = _run(_study(), 5, space=third_fails)
    assert (totals.trials, totals.failed) == (4, 1)
