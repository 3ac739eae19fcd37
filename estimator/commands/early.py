"""What can be told to be wrong before torch is imported, which takes seconds: options, names, missing files."""

from __future__ import annotations

from estimator import sources
from estimator.hardware import selection
from estimator.lifecycle import carbon
from estimator.lifecycle.scenario import Scenario
from estimator.sources.inputs import parse_input


def check(scenario: Scenario, *models: str) -> None:
    """Raises a `JoulecastError` for inputs, hardware, a region or one of `models` that cannot be what is meant."""
    for text in scenario.inputs:
        parse_input(text)
    if scenario.hardware not in (None, "auto"):
        selection.choose(scenario.value_of("hardware"), scenario.settings)
    if scenario.region is not None:
        carbon.find_region(scenario.region)
    for model in models:
        sources.check(model)
