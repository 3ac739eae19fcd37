"""The main job: a model and a scenario in, a `Footprint` out. The command line calls `estimate` and nothing else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from estimator.base import budget
from estimator.base.errors import ModelFileError
from estimator.base.facts import Assumption
from estimator.base.words import printable
from estimator.energy import pricing
from estimator.energy.pricing import Estimate, LayerCost
from estimator.hardware import selection, settings
from estimator.hardware.memory import memory_of, reserve_of
from estimator.hardware.profile import HardwareProfile
from estimator.inputs.chosen import chosen_inputs
from estimator.inputs.guessed import weighed
from estimator.lifecycle import cautions, choices, everyday, parallel, sentences, stages
from estimator.lifecycle.scenario import Scenario
from estimator.lifecycle.stages import Stage, Training
from estimator.sources import LoadedModel, load
from estimator.sources.arguments import Given
from estimator.sources.examples import with_example
from estimator.sources.inputs import InputSpec, build_inputs
from estimator.sources.quantized_layers import with_plain_layers
from estimator.sources.wrappers import opened
from estimator.workload.execution.trained import trainable_parameters
from estimator.workload.memory.need import MemoryNeed, refusals
from estimator.workload.memory.sharding import Sharing
from estimator.workload.ops import Workload
from estimator.workload.trace import TraceInputs, trace


@dataclass(frozen=True)
class ModelFacts:
    """What the model is, before any input: parameters are elements, tied ones counted once.

    Matrices that are kept as int8 buffers are parameters too, which are not trained.
    """

    name: str
    form: str
    parameters: int
    trainable_parameters: int
    layer_types: dict[str, int]


@dataclass(frozen=True)
class Footprint:
    """The predicted life cycle of one model in one scenario, at the facility's boundary."""

    model: ModelFacts
    hardware: HardwareProfile
    assumptions: tuple[Assumption, ...]
    inference_workload: Workload
    training_workload: Workload
    inference_estimate: Estimate
    training_estimate: Estimate
    memory: MemoryNeed
    inference: Stage
    training: Training
    search: Stage | None
    lifetime: Stage | None
    overhead_is_traced: bool
    input_warnings: tuple[str, ...]
    memory_warnings: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def layers(self) -> tuple[LayerCost, ...]:
        """Every layer's energy in the whole training, at the facility, dearest first."""
        total_j = self.training.stage.energy_j.value
        return tuple(LayerCost(c.name, c.type, c.share * total_j, c.share) for c in self.training_estimate.layers)

    def value_of(self, name: str) -> float:
        """The number that the answer assumes for `name`, as in "devices"."""
        return next(float(a.value) for a in self.assumptions if a.name == name)

    @property
    def headline(self) -> tuple[str, ...]:
        """The answer in sentences, the training and what it compares to first."""
        devices, title = self.value_of("devices"), printable(self.hardware.title)
        on = title if devices == 1 else f"{devices:,g} x {title}"
        lines = [
            sentences.of_training(printable(self.model.name), on, self.training),
            everyday.compared(self.training.stage.energy_j.value),
            sentences.of_inference(self.inference),
        ]
        if self.search:
            lines.append(sentences.of_search(self.search, self.value_of("trials")))
        if self.lifetime:
            lines.append(sentences.of_lifetime(self.lifetime, self.value_of("inferences")))
        return tuple(line for line in lines if line)

    def __str__(self) -> str:
        return "\n".join(self.headline)

    def __repr__(self) -> str:
        stage = self.training.stage
        return f"<Footprint of {self.model.name!r} on {self.hardware.name}: training {sentences.costs(stage)}>"

    def _repr_html_(self) -> str:
        """A small table for a notebook."""
        stages = {
            "inference": self.inference,
            "training": self.training.stage,
            "search": self.search,
            "lifetime": self.lifetime,
        }
        return sentences.as_html(self.headline[0], {name: stage for name, stage in stages.items() if stage})


def _layer_types(module: nn.Module, workload: Workload | None) -> dict[str, int]:
    """How many leaf layers there are of each type; a program read as data has no layers but those its ops name."""
    if hasattr(module, "layer_scope"):
        layers = {op.layer: op.layer_type for op in workload.ops if op.layer} if workload else {}
        return dict(Counter(layers.values()).most_common())
    leaves = (type(m).__name__ for m in module.modules() if next(m.children(), None) is None)
    return dict(Counter(leaves).most_common())


def _int8_weights(module: nn.Module) -> tuple[torch.Tensor, ...]:
    """Matrices that quantized layers keep as buffers."""
    return tuple(b for b in module.buffers() if b.dtype == torch.int8 and b.dim() > 1)


def model_facts(model: LoadedModel, freeze: Sequence[str] = (), workload: Workload | None = None) -> ModelFacts:
    """Count parameters and leaf layers of `model`; `freeze` as in `Scenario`, `workload` a forward pass of it."""
    trainable = trainable_parameters(model.module, freeze)
    sizes = [p.numel() for p in (*model.module.parameters(), *_int8_weights(model.module))]
    trained = {id(p): p.numel() for n, p in model.module.named_parameters() if n in trainable}
    types = _layer_types(model.module, workload)
    return ModelFacts(model.name, model.form, sum(sizes), sum(trained.values()), types)


Traces = dict[Hashable, Workload]
"""Workloads traced before, by all that a trace depends on."""


def workload_of(
    model: LoadedModel,
    specs: tuple[InputSpec, ...],
    batch_size: int,
    scenario: Scenario,
    *,
    training: bool,
    on_gpu: bool = True,
    kept: Traces | None = None,
) -> Workload:
    """Trace `model` in `scenario`: a forward pass, or a training step. An export with a fixed batch keeps that one.

    What is in `kept` is not traced again, and what is traced is put there.
    """
    kept = {} if kept is None else kept
    batch_size = model.fixed_batch or batch_size
    dtype = scenario.value_of("dtype")
    optimizer, freeze = (scenario.optimizer_step, scenario.freeze) if training else (None, ())
    execution, last = choices.execution_of(scenario, on_gpu=on_gpu), scenario.channels_last
    key = model, specs, batch_size, dtype, optimizer, freeze, execution, last
    if key not in kept:
        args, kwargs = build_inputs(specs, batch_size, getattr(torch, dtype), channels_last=last)
        inputs = TraceInputs(args, kwargs, batch_size)
        kept[key] = trace(model.module, inputs, dtype=dtype, optimizer=optimizer, freeze=freeze, execution=execution)
    return kept[key]


def as_loaded(
    model: str | os.PathLike[str] | nn.Module | LoadedModel, *, trust: bool = False, given: Given | None = None
) -> LoadedModel:
    """A model by name or path (`estimator.sources.load`, with its `given`), or a module that the caller has built."""
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if isinstance(model, LoadedModel):
        return model
    model = opened(model)
    if isinstance(model, nn.Module):
        return LoadedModel(with_plain_layers(model), type(model).__name__, "nn.Module", None, "")
    if not isinstance(model, str):
        raise ModelFileError(
            f"a model is a path, a name or an nn.Module, not {type(model).__name__}: build it first, as in Net()."
        )
    return load(model, trust=trust, given=given)


@budget.spending()
def estimate(
    model: str | os.PathLike[str] | nn.Module | LoadedModel,
    scenario: Scenario | None = None,
    *,
    example: Any = None,
    hardware: HardwareProfile | None = None,
    trust: bool = False,
    kept: Traces | None = None,
) -> Footprint:
    """Predict what `model` will cost in `scenario`, without running it.

    `model` is what the command line takes (a file, directory, factory or zoo name) or an `nn.Module`. `example` is what
    its `forward` is called with, any nest of tensors, containers, objects, numbers and None: a tuple of positional
    arguments, or a mapping of those by name; of tensors, shapes and types are read alone. `hardware` replaces the
    scenario's by a profile of one's own; `trust` allows code of a model file to run. A `kept` that is passed again
    spares tracing the same `LoadedModel` anew on other hardware, or for other epochs.
    Raises a `JoulecastError` that names the remedy where something cannot be used.
    """
    scenario = scenario or Scenario()
    profile, hardware_assumption = selection.choose(scenario.value_of("hardware"), scenario.settings, hardware)
    site, site_assumptions = choices.site_of(scenario, profile.host)
    loaded = as_loaded(model, trust=trust)
    if loaded.of_file:
        budget.read_from_file()
    if example is not None:
        loaded = with_example(loaded, example, "the example inputs")
    if scenario.no_batch:
        loaded = replace(loaded, fixed_batch=None, no_batch="")
    scenario, dtype = choices.with_dtype(loaded, scenario)
    kept = {} if kept is None else kept
    traced = partial(workload_of, on_gpu=profile.model.asynchronous, kept=kept)

    def serving(specs: tuple[InputSpec, ...]) -> Workload:
        return traced(loaded, specs, scenario.value_of("inference_batch_size"), scenario, training=False)

    inputs = chosen_inputs(loaded, scenario)
    served = serving(inputs.specs)
    inputs = weighed(inputs, lambda specs: serving(specs).flops_per_sample)
    cluster = choices.cluster_of(scenario, profile)
    batch = parallel.part_of(scenario.value_of("batch_size"), cluster.devices)
    step = traced(loaded, inputs.specs, batch, scenario, training=True)
    facts = model_facts(loaded, scenario.freeze, served)
    served_estimate = pricing.price(served, profile.model)
    exchange, shard = parallel.exchange_of(step), scenario.shard or "none"
    alone = pricing.price(step, profile.model)
    step_estimate, waiting = parallel.shared(alone, exchange, cluster, shard, profile.model.power.static_w)
    sharing = Sharing(cluster.devices, shard, exchange.blocks)
    eager = replace(scenario, compile=None)  # what compiling fuses stays alive in its trace
    held = partial(traced, loaded, inputs.specs, scenario=eager)
    serve, train = partial(held, training=False), partial(held, training=True)
    larger = (None, None) if loaded.fixed_batch else (serve, train)
    memory = MemoryNeed(
        memory_of(serve(served.batch_size), profile, scenario.settings, larger[0]),
        memory_of(train(step.batch_size), profile, scenario.settings, larger[1], sharing),
    )

    inference = stages.of_samples(served_estimate, 1, replace(site, devices=1))  # devices share the training
    trained = stages.training(
        step_estimate, scenario.value_of("samples"), scenario.value_of("epochs"), site, scenario.overhead
    )
    trial = stages.training(step_estimate, scenario.trial_samples, scenario.trial_epochs, site, scenario.overhead)
    searched = stages.search(trial, scenario.trials) if scenario.trials else None
    lived = scenario.inferences and stages.lifetime(searched, trained.stage, inference, scenario.inferences)
    return Footprint(
        model=facts,
        hardware=profile,
        assumptions=(
            inputs.assumption,
            *choices.chosen(loaded, scenario, dtype, step),
            hardware_assumption,
            *selection.clock_of(
                profile,
                given=scenario.clock_mhz is not None,
                inference=served_estimate.clock_share,
                training=step_estimate.clock_share,
            ),
            *settings.said(profile, scenario.settings),
            *reserve_of(profile),
            *choices.on_devices(scenario, cluster, step.batch_size, waiting),
            *site_assumptions,
        ),
        inference_workload=served,
        training_workload=step,
        inference_estimate=served_estimate,
        training_estimate=step_estimate,
        memory=memory,
        inference=inference,
        training=trained,
        search=searched,
        lifetime=lived or None,
        overhead_is_traced=scenario.overhead is None,
        input_warnings=inputs.warnings,
        memory_warnings=tuple(refusals(memory, f"one {profile.title}")),
        warnings=tuple(cautions.of(loaded, facts.trainable_parameters, profile, scenario)),
    )
