"""One unit of a search, simulated: candidates are drawn, built on the meta device and priced; nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import optuna
from numpy.typing import NDArray

from estimator.base.budget import spending
from estimator.base.errors import JoulecastError
from estimator.energy.uncertainty import Interval
from estimator.search.curves import World
from estimator.search.plan import Plan, Unit
from estimator.search.pricing import Price, Pricer
from estimator.search.space import Candidate, candidate, load_space, without_weights
from estimator.search.strategies import pruner_of, sampler_of
from estimator.sources.building import offline_and_quiet

State = Literal["complete", "stopped", "pruned", "failed"]
"""stopped: by early stopping, which is no failure; pruned: by the pruner, or by the space itself before any epoch."""

_NOTHING = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class TrialCost:
    """What one simulated trial cost at the facility: joules and seconds of the epochs that it lived."""

    study: int
    trial: int
    state: State
    epochs: float
    epochs_run: float
    energy_j: Interval
    duration_s: Interval
    params: dict[str, Any]
    error: str = ""
    cautions: tuple[str, ...] = ()


class Simulation:
    """A plan made ready in one process: the space is loaded, and its pricer remembers what it has seen."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.build = load_space(plan.space) if isinstance(plan.space, str) else plan.space
        self.pricer = Pricer(plan.scenario, plan.hardware)

    def run(self, unit: Unit, told: Callable[[int], None] = lambda trials: None) -> list[TrialCost]:
        """The trials of `unit`, in their order; the same for the same unit, wherever and however often it is run.

        After each trial `told` hears how many are done.
        """
        plan, costs = self.plan, list[TrialCost]()
        seeds = np.random.SeedSequence([plan.seed, unit.study]).generate_state(2)
        world = World(plan.curves, int(seeds[0]))
        with offline_and_quiet(), without_weights():
            study = optuna.create_study(
                study_name=f"study {unit.study}",  # HyperbandPruner chooses brackets by it
                sampler=sampler_of(plan.sampler, int(seeds[1]) ^ unit.first),
                pruner=pruner_of(plan.pruner, math.ceil(plan.scenario.value_of("epochs"))),
            )
            objective = partial(self._trial, unit, world, costs)
            try:
                study.optimize(objective, unit.trials, catch=(JoulecastError,), callbacks=[lambda *_: told(len(costs))])
            except UnboundLocalError as error:  # Optuna's own, where it is interrupted between two trials
                if isinstance(error.__context__, KeyboardInterrupt):
                    raise error.__context__ from None
                raise
        return costs

    def _trial(self, unit: Unit, world: World, costs: list[TrialCost], trial: optuna.Trial) -> float:
        number = unit.first + trial.number
        state: State
        try:
            with spending():
                made = candidate(self.build, trial, self.plan.scenario)
                price = self.pricer.price(made.model, made.batch_size)
        except (JoulecastError, optuna.TrialPruned) as error:
            failed = isinstance(error, JoulecastError)
            state, why = ("failed", str(error)) if failed else ("pruned", "")
            costs.append(TrialCost(unit.study, number, state, 0, 0, _NOTHING, _NOTHING, trial.params, why))
            raise
        if not self.plan.reads_losses:
            costs.append(_cost(unit, number, "complete", made, made.epochs, price))
            return 0.0
        curve = world.curve(number, math.ceil(made.epochs), made.params, trial.distributions)
        state, lived = self._lives(trial, curve)
        costs.append(_cost(unit, number, state, made, min(lived, made.epochs), price))
        if state == "pruned":
            raise optuna.TrialPruned
        return float(curve[lived - 1])

    def _lives(self, trial: optuna.Trial, curve: NDArray[np.float64]) -> tuple[State, int]:
        """How the trial ends, and after how many epochs."""
        prunes, patience = self.plan.pruner != "none", self.plan.patience
        best, best_epoch = math.inf, 0
        for epoch, loss in enumerate(curve.tolist(), 1):
            if prunes:
                trial.report(loss, epoch)
                if trial.should_prune():
                    return "pruned", epoch
            if loss < best:
                best, best_epoch = loss, epoch
            elif patience is not None and epoch - best_epoch >= patience and epoch < len(curve):
                return "stopped", epoch
        return "complete", len(curve)


def _cost(unit: Unit, number: int, state: State, made: Candidate, lived: float, price: Price) -> TrialCost:
    stage = price.sample * (made.samples * lived)
    return TrialCost(
        unit.study, number, state, made.epochs, lived, stage.energy_j, stage.duration_s, made.params, "", price.cautions
    )
