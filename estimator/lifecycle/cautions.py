"""What the model, the scenario and the device make an answer warn of."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from estimator.hardware.profile import HardwareProfile
from estimator.lifecycle.choices import nearest_dtype
from estimator.lifecycle.scenario import Scenario
from estimator.lifecycle.spellings import dtype_of
from estimator.sources import LoadedModel


def of(model: LoadedModel, trainable_parameters: int, profile: HardwareProfile, scenario: Scenario) -> Iterator[str]:
    """Each a sentence, the model source's own first."""
    yield from model.notes
    dtype = scenario.value_of("dtype")
    narrow = scenario.autocast or dtype
    if narrow != "float32" and profile.model.rates.rate_of("matmul", narrow) == "float32":
        yield f"{profile.title} has no published {narrow} rate: its matrix work is priced at the float32 rate"
    if model.dtype is not None and nearest_dtype(model.dtype) != dtype_of(model.dtype):
        yield f"the model's config says {model.dtype}, which cannot be priced: its numbers are taken as {dtype}"
    if model.fixed_batch and not model.no_batch:
        yield (
            f"the export has a fixed batch of {model.fixed_batch}: batch sizes are ignored and costs scaled from it; "
            "export with a dynamic batch dimension to change that"
        )
    if any(p.dtype == torch.float64 for p in model.module.parameters()):
        yield f"the model has float64 parameters, which are priced as {dtype}: real runs cost more"
    if scenario.value_of("samples") < scenario.value_of("batch_size"):
        yield "the training set is smaller than one batch: costs are a part of a whole step's; lower --batch-size"
    if trainable_parameters == 0:
        yield "the model has no trainable parameter: its training is forward passes alone"
