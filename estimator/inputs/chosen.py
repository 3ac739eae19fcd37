"""Which inputs a model is priced on, whose choice they were, and what to look at in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from estimator.base.facts import Assumption, AssumptionStatus
from estimator.inputs.batch import placed_batch
from estimator.lifecycle.scenario import Scenario
from estimator.sources import LoadedModel
from estimator.sources.guessing import guess_inputs
from estimator.sources.inputs import InputSpec, is_assumed, parse_input


@dataclass(frozen=True)
class ChosenInputs:
    """The inputs per sample, the assumption that says where they come from, and warnings: each a sentence."""

    specs: tuple[InputSpec, ...]
    assumption: Assumption
    warnings: tuple[str, ...] = ()


def chosen_inputs(model: LoadedModel, scenario: Scenario) -> ChosenInputs:
    """The inputs of `model`: as given, else as its source or its layers tell."""
    status: AssumptionStatus
    if scenario.inputs:
        specs, source, status = tuple(parse_input(text) for text in scenario.inputs), "--input", "given"
    else:
        specs, source = (model.inputs, model.inputs_source) if model.inputs else guess_inputs(model.module)
        status = "default" if is_assumed(source) else "detected"
    warnings = []
    if scenario.no_batch:
        specs, source = tuple(spec.without_batch() for spec in specs), f"{source}; --no-batch"
    elif not any(_names_batch(text) for text in scenario.inputs):
        specs, batch = placed_batch(model.module, specs, getattr(torch, scenario.value_of("dtype")))
        source += f"; {batch}" if batch else ""
        if batch and scenario.inputs:
            warnings.append(f"{batch}; write B where it stands, such as Bx512x64, to place it yourself")
    if model.no_batch and not scenario.inputs and not scenario.no_batch:
        warnings.append(f"{model.no_batch}; say --no-batch where that is right, else give one sample with --input")
    shown = " ".join(str(spec) for spec in specs)
    return ChosenInputs(specs, Assumption("input", shown, "", status, source, "--input"), tuple(warnings))


def _names_batch(text: str) -> bool:
    """Whether an `--input` says itself where the batch stands."""
    return "B" in text.rpartition("=")[2]
