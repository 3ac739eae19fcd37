"""The price of a candidate before it trains: joules and seconds of a sample in training, from remembered parts."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from estimator.energy import pricing
from estimator.hardware import selection
from estimator.hardware.profile import HardwareProfile
from estimator.inputs.chosen import chosen_inputs
from estimator.lifecycle import choices, stages
from estimator.lifecycle.scenario import Scenario
from estimator.lifecycle.stages import Stage
from estimator.search.parts import Parts
from estimator.search.recent import Recent
from estimator.search.signature import Signatures, Structure
from estimator.search.told import Counted, added, counted, merged
from estimator.sources import LoadedModel
from estimator.sources.inputs import InputSpec, build_inputs
from estimator.workload.execution.settings import EAGER
from estimator.workload.execution.trained import trainable_parameters
from estimator.workload.modes import module_mode
from estimator.workload.ops import Workload
from estimator.workload.trace import FAILURES, TraceInputs, trace

if TYPE_CHECKING:
    from torch import nn

_ROOM = 2**14
"""Prices that are remembered: one takes about 400 bytes."""


class Price(NamedTuple):
    """What one sample costs in training, at the facility, and what that rests on: each caution a sentence."""

    sample: Stage
    cautions: tuple[str, ...]


class Pricer:
    """Prices models in one scenario on one machine; equal structures once, as long as they are remembered.

    `priced` counts the models, `repeated` those whose price was known, `whole` those that had to be traced whole.
    Not for use by several threads at a time.
    """

    def __init__(self, scenario: Scenario, hardware: HardwareProfile | None = None) -> None:
        self.scenario = scenario
        self.profile, _ = selection.choose(scenario.value_of("hardware"), scenario.settings, hardware)
        self.site, _ = choices.site_of(scenario, self.profile.host)
        self.priced = self.repeated = self.whole = 0
        self._signatures = Signatures()
        self._parts: dict[str, Parts[Counted] | Parts[Workload]] = {}
        self._specs: Recent[Hashable, tuple[InputSpec, ...]] = Recent(_ROOM)
        self._prices: Recent[Hashable, Price] = Recent(_ROOM)

    def price(self, model: LoadedModel, batch_size: int) -> Price:
        """What one sample of training in batches of `batch_size` costs.

        Raises a `JoulecastError` where the model cannot be traced.
        """
        self.priced += 1
        batch_size = model.fixed_batch or batch_size
        with module_mode(model.module, training=True):
            structure = Structure(model.module, self._signatures, self._frozen(model.module))
            scenario = self.scenario
            if structure.dtypes != {torch.float32}:
                scenario, _ = choices.with_dtype(model, scenario)
            dtype, optimizer = scenario.value_of("dtype"), scenario.optimizer_step
            specs = self._inputs(model, dtype, structure)
            key = dtype, structure.number, specs, batch_size
            known = self._prices.get(key) if structure.number else None
            if known is not None:
                self.repeated += 1
                return known
            last = scenario.channels_last
            built = build_inputs(specs, batch_size, getattr(torch, dtype), channels_last=last)
            inputs = TraceInputs(*built, batch_size)
            execution = choices.execution_of(scenario, on_gpu=self.profile.model.asynchronous)
            step = self._composed(model.module, dtype, structure, inputs) if execution == EAGER else None
            if step is None:
                self.whole += 1
                step = trace(
                    model.module,
                    inputs,
                    dtype=dtype,
                    optimizer=optimizer,
                    freeze=scenario.freeze,
                    execution=execution,
                )
        told = counted(step, self.profile.model) if isinstance(step, Workload) else step
        phases = pricing.phases_of(told.sums, self.profile.model).once_in(scenario.accumulate or 1)
        estimate = pricing.estimate_of(told.sums, phases, self.profile.model, batch_size)
        stage = stages.training(estimate, 1, 1, self.site, scenario.overhead).stage
        price = Price(stage, tuple(told.cautions()))
        if structure.number:
            self._prices.put(key, price)
        return price

    def _frozen(self, module: nn.Module) -> frozenset[int]:
        """The identities of the parameters that `freeze` keeps from being trained."""
        if not self.scenario.freeze:
            return frozenset()
        names = trainable_parameters(module, self.scenario.freeze)
        return frozenset(id(p) for name, p in module.named_parameters() if name not in names)

    def _inputs(self, model: LoadedModel, dtype: str, structure: Structure) -> tuple[InputSpec, ...]:
        """The inputs of `model`; what its layers tell is the same for equal structures."""
        if model.inputs or not structure.number:
            return chosen_inputs(model, self.scenario).specs
        known = self._specs.get((dtype, structure.number))
        if known is None:
            known = chosen_inputs(model, self.scenario).specs
            self._specs.put((dtype, structure.number), known)
        return known

    def _composed(
        self, module: nn.Module, dtype: str, structure: Structure, inputs: TraceInputs
    ) -> Counted | Workload | None:
        """The step put together from parts; None where that cannot be done, and the whole trace has to tell why."""
        if dtype not in self._parts:
            self._parts[dtype] = self._no_parts(dtype)
        try:
            return self._parts[dtype].step(module, structure, inputs)
        except FAILURES:
            return None

    def _no_parts(self, dtype: str) -> Parts[Counted] | Parts[Workload]:
        optimizer = self.scenario.optimizer_step
        if self.profile.model.op_times is not None:
            return Parts(dtype, optimizer, lambda ops: ops, merged)
        return Parts(dtype, optimizer, partial(counted, model=self.profile.model), added)
