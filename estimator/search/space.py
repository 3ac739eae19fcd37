"""The search space: the user's `build(trial) -> nn.Module` in Optuna's define-by-run style, and what one trial draws.

Like `file.py:Net`, the file is the user's own code, and naming it asks for it to run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import optuna
from torch import nn

from estimator.base.errors import JoulecastError, ModelFileError
from estimator.base.words import one_line
from estimator.lifecycle.scenario import Scenario
from estimator.sources import LoadedModel, factory
from estimator.sources.building import on_meta

Build = Callable[[Any], Any]
"""`build(trial)`: the candidate, or a pair of it and its example inputs."""

OWN = ("epochs", "samples", "batch_size")
"""A parameter or user attribute of the trial by one of these names is the trial's own, in place of the scenario's."""

_REMEDY = "return the model from build(trial), or the pair (model, example inputs)"


class CandidateError(JoulecastError):
    """A trial whose candidate cannot be built or priced: it fails, and the search goes on."""


@dataclass(frozen=True)
class Candidate:
    """What one trial would train: a model on the meta device, for how long, in which batches, by which parameters."""

    model: LoadedModel
    epochs: float
    samples: float
    batch_size: int
    params: dict[str, Any]


def load_space(spec: str) -> Build:
    """The `build` of a space file: `space.py`, or `space.py:name` and `package.module:name` for another name."""
    named = spec if ":" in spec.replace(":\\", "") else f"{spec}:build"
    where = named.rpartition(":")[0]
    if not (Path(where).is_file() if where.endswith(".py") else all(map(str.isidentifier, where.split(".")))):
        raise ModelFileError(f"there is no file {where}: give the path of the Python file with `def build(trial)`")
    found = factory.named_by(named)
    if not callable(found):
        raise ModelFileError(f"{named} is no function: define `def build(trial)`, which returns the candidate's model")
    return found  # type: ignore[no-any-return]


@cache
def _initialised() -> tuple[Any, ...]:
    """The classes of torch's own layers that fill their weights when they are made."""
    modules = (value for value in vars(nn.modules).values() if inspect.ismodule(value))
    classes = {value for module in modules for value in vars(module).values() if inspect.isclass(value)}
    return tuple(c for c in classes if issubclass(c, nn.Module) and "reset_parameters" in vars(c))


@contextmanager
def without_weights() -> Iterator[None]:
    """While active, torch's own layers are made without filling their weights: no candidate needs them.

    Around many candidates, since a class that is changed loses what Python remembers of it.
    """
    kept = [(layer, layer.reset_parameters) for layer in _initialised()]
    for layer, _ in kept:
        layer.reset_parameters = lambda self: None
    try:
        yield
    finally:
        for layer, reset in kept:
            layer.reset_parameters = reset


def candidate(build: Build, trial: optuna.Trial, scenario: Scenario) -> Candidate:
    """What `build` makes of `trial`. Raises `CandidateError`, and `optuna.TrialPruned` where the space does."""
    where = (getattr(build, "__module__", None) or "the search space").removeprefix("joulecast_model_")
    try:
        with factory.users_code(f"{where}.py"):
            made = on_meta(lambda: build(trial))
        model = factory.built(made, f"{where}:{getattr(build, '__name__', 'build')}", _REMEDY)
    except ModelFileError as error:
        if isinstance(error.__cause__, optuna.TrialPruned):
            raise error.__cause__ from None
        raise CandidateError(str(error)) from error
    params = trial.params
    own = {**params, **trial.user_attrs}
    epochs, samples, batch = (_amount(name, own.get(name, scenario.value_of(name))) for name in OWN)
    if batch != int(batch):
        raise CandidateError(f"the trial's batch_size is a whole number, not {one_line(batch, 40)}: correct the space")
    return Candidate(model, epochs, samples, int(batch), params)


def _amount(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e18:
        told = one_line(repr(value), 40)
        raise CandidateError(f"the trial's {name} is a number above 0, not {told}: correct the space")
    return float(value)
