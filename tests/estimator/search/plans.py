"""Plans of small searches on a machine of round numbers."""

from __future__ import annotations

from estimator import Scenario, estimate
from estimator.search import Plan
from tests.estimator.profiles import profile


def plan_of(space, *, trials=6, epochs=4.0, samples=320.0, **options) -> Plan:
    scenario = Scenario(trials=trials, epochs=epochs, samples=samples, pue=1.0)
    return Plan(space, scenario, **{"hardware": profile(), "studies": 3, **options})


def training_j(net, plan: Plan) -> float:
    return estimate(net, plan.scenario, hardware=plan.hardware).training.stage.energy_j.value
