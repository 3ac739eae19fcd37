"""What a choice that nobody made is worth: the same training, priced with another."""

from __future__ import annotations

from dataclasses import replace

from estimator.base.errors import JoulecastError
from estimator.footprint import Footprint, Traces, estimate
from estimator.lifecycle.scenario import Scenario
from estimator.sources import LoadedModel

_LARGER = 8
_MOST_OPS = 1000
"""A second trace of a larger step would take the reader's time."""


def of_larger_batch(
    loaded: LoadedModel, scenario: Scenario, footprint: Footprint, kept: Traces
) -> tuple[int, float] | None:
    """A batch eight times the default, and the training's energy with it over the energy without.

    None where a batch was chosen or cannot be, where a second trace would take long, or where the model refuses.
    """
    step = footprint.training_workload
    chosen = scenario.batch_size is not None or scenario.no_batch or loaded.no_batch or loaded.fixed_batch
    if chosen or len(step.ops) > _MOST_OPS:
        return None
    batch_size = _LARGER * step.batch_size
    try:
        other = estimate(loaded, replace(scenario, batch_size=batch_size), kept=kept)
    except JoulecastError:
        return None
    before_j = footprint.training.stage.energy_j.value
    return (batch_size, other.training.stage.energy_j.value / before_j) if before_j else None
