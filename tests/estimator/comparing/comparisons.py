"""Rows of a comparison with round numbers, for hand arithmetic."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from estimator.comparing.compare import Comparison, Row
from estimator.energy.uncertainty import log_normal
from estimator.footprint import Footprint, estimate
from estimator.lifecycle.carbon import given
from estimator.lifecycle.scenario import Scenario
from estimator.lifecycle.stages import Stage
from tests.estimator.networks import mlp

LAUNCH = {"compute": 0.0, "memory": 0.0, "launch": 1.0}
MEMORY = {"compute": 0.0, "memory": 1.0, "launch": 0.0}


@cache
def _any_footprint() -> Footprint:
    return estimate(mlp(4, 2), Scenario(hardware="i9-9900k"))


def row(
    name: str,
    training_j: float,
    inference_j: float = 1.0,
    quality: float | None = None,
    *,
    spread: float = 0.0,
    waits: dict[str, float] = LAUNCH,
    machine: str = "one",
    seconds: float | None = None,
    grams: float = 475.0,
) -> Row:
    """A row of work of its own; joules at the facility, one watt unless `seconds` say otherwise."""
    base = _any_footprint()

    def stage(joules: float, duration_s: float) -> Stage:
        return Stage(log_normal(joules, spread), log_normal(duration_s, 0.0), given(grams))

    changes: dict[str, Any] = {
        "hardware": replace(base.hardware, name=machine),
        "training": replace(base.training, stage=stage(training_j, training_j if seconds is None else seconds)),
        "inference": stage(inference_j, inference_j),
        "training_workload": replace(base.training_workload),
        "inference_workload": replace(base.inference_workload),
        "training_estimate": replace(base.training_estimate, bound_shares=waits),
        "inference_estimate": replace(base.inference_estimate, bound_shares=waits),
    }
    return Row(name, name, {}, replace(base, **changes), quality)


def comparison(*rows: Row) -> Comparison:
    return Comparison(tuple(sorted(rows, key=lambda one: one.total.energy_j.value)))
