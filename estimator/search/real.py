"""A real Optuna study whose trials are priced before they train: objective, constraint, and the sum of the joules.

    pricer, ledger = Pricer(Scenario(epochs=20, samples=60_000, hardware="a100")), Ledger()
    study = optuna.create_study(storage="sqlite:///study.db", study_name="s", load_if_exists=True)
    study.optimize(priced(build, train, pricer, budget_j=5e4), n_trials=50, callbacks=[ledger])
    ledger.totals(study)

Everything is kept in the trials' own attributes, so a study that is resumed from Optuna's storage counts all of its
trials, each once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import optuna

from estimator.energy.uncertainty import Interval
from estimator.search.pricing import Pricer
from estimator.search.space import Build, Candidate, candidate, without_weights

Train = Callable[[optuna.Trial, Candidate], float]
"""Builds the trial's model again, trains it, reports its losses epoch by epoch, and returns the value that counts."""

Metered = Callable[[], AbstractContextManager[Callable[[], "float | None"]]]
"""Measures a block; what it yields tells the device's joules after the block, None where they could not be read."""

PREDICTED, LOW, HIGH, PER_EPOCH, MEASURED = (
    f"joulecast_{name}_j" for name in ("predicted", "low", "high", "per_epoch", "measured")
)
"""User attributes of a trial: joules at the device, as predicted for all of its epochs, for one, and as measured."""


@contextmanager
def _unmetered() -> Iterator[Callable[[], float | None]]:
    yield lambda: None


@contextmanager
def _kept(trial: optuna.Trial, metered: Metered) -> Iterator[None]:
    """Keeps what is measured of the block with the trial, also where the block ends by an error or is pruned."""
    with ExitStack() as after, metered() as joules:
        after.callback(_keep, trial, joules)
        yield


def _keep(trial: optuna.Trial, joules: Callable[[], float | None]) -> None:
    measured = joules()
    if measured is not None:
        trial.set_user_attr(MEASURED, measured)


@dataclass(frozen=True)
class Totals:
    """The joules of a study at the device, over the trials that were priced.

    `predicted_j` is for all epochs of every trial, `lived_j` for those that they reported before they ended (all of
    them where a trial ran to its end). `measured_j` is None unless every one of these trials was measured.
    """

    trials: int
    failed: int
    predicted_j: Interval
    lived_j: float
    measured_j: float | None
    measured_trials: int


def priced(
    build: Build,
    train: Train,
    pricer: Pricer,
    *,
    budget_j: float | None = None,
    second_objective: bool = False,
    metered: Metered = _unmetered,
) -> Callable[[optuna.Trial], float | tuple[float, float]]:
    """An Optuna objective that prices a trial before it trains.

    The prediction is the device's joules of the whole training. It is kept with the trial; with `budget_j` it is a
    constraint (`trial.set_constraint`), and a trial over the budget is pruned before it trains; as a
    `second_objective` it is returned beside the value. `metered` measures the training.
    """

    def objective(trial: optuna.Trial) -> float | tuple[float, float]:
        with without_weights():
            made = candidate(build, trial, pricer.scenario)
        predicted = device_j(pricer, made)
        of_trial = {PREDICTED: predicted.value, LOW: predicted.low, HIGH: predicted.high}
        for name, joules in {**of_trial, PER_EPOCH: predicted.value / made.epochs}.items():
            trial.set_user_attr(name, joules)
        if budget_j is not None:
            trial.set_constraint("joulecast_energy_j", predicted.value - budget_j)
            if predicted.value > budget_j and not second_objective:  # Optuna prunes no trial with two objectives
                raise optuna.TrialPruned(f"predicted {predicted.value:.3g} J, over the budget of {budget_j:.3g} J")
        with _kept(trial, metered):
            value = train(trial, made)
        return (value, predicted.value) if second_objective else value

    return objective


def device_j(pricer: Pricer, made: Candidate) -> Interval:
    """Joules of the whole training of `made` at the device (GPU or CPU package): what a meter there would read."""
    facility = pricer.price(made.model, made.batch_size).sample * (made.samples * made.epochs)
    return facility.energy_j * (1 / pricer.site.facility_factor)


class Ledger:
    """A callback for `study.optimize` that keeps the study's joules in its user attributes, trial by trial."""

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Add up what is in the storage: also what other processes and earlier runs of this study did."""
        totals = self.totals(study)
        study.set_user_attr(PREDICTED, totals.predicted_j.value)
        study.set_user_attr(MEASURED, totals.measured_j)

    @staticmethod
    def totals(study: optuna.Study) -> Totals:
        """The joules of all finished trials of `study`; a study without any has 0 trials, and that is no error."""
        finished = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
        known = [t for t in finished if PREDICTED in t.user_attrs]
        trained = [t for t in known if _lived_j(t) > 0]
        measured = [t.user_attrs[MEASURED] for t in trained if MEASURED in t.user_attrs]
        predicted = (math.fsum(t.user_attrs[name] for t in known) for name in (PREDICTED, LOW, HIGH))
        return Totals(
            trials=len(known),
            failed=sum(t.state is optuna.trial.TrialState.FAIL for t in finished),
            predicted_j=Interval(*predicted),
            lived_j=math.fsum(map(_lived_j, known)),
            measured_j=math.fsum(measured) if trained and len(measured) == len(trained) else None,
            measured_trials=len(measured),
        )


def _lived_j(trial: Any) -> float:
    """Predicted joules of the epochs that a trial lived: those that it reported, or all where it ran to its end."""
    if trial.state is optuna.trial.TrialState.COMPLETE:
        return float(trial.user_attrs[PREDICTED])
    return float(trial.user_attrs[PER_EPOCH] * len(trial.intermediate_values))
