"""Optuna's own samplers and pruners, by the names of `--sampler` and `--pruner`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from estimator.base.errors import ScenarioError

SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "grid": lambda seed: optuna.samplers.BruteForceSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed),
    "nsgaii": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
    "nsgaiii": lambda seed: optuna.samplers.NSGAIIISampler(seed=seed),
    "qmc": lambda seed: optuna.samplers.QMCSampler(seed=seed),
}
"""Made anew for each simulated study, from its seed. "grid" goes through every combination once, in a random order:
Optuna's `BruteForceSampler`, the grid of a space that is defined while it runs."""

BLIND = frozenset({"random", "grid", "qmc"})
"""Samplers that look at no loss."""

INDEPENDENT = frozenset({"random"})
"""Samplers that look at no earlier trial: their trials may be drawn in blocks, on several machines."""

PRUNERS: Mapping[str, Callable[[float, int], BasePruner]] = {
    "none": lambda _, epochs: optuna.pruners.NopPruner(),
    "median": lambda _, epochs: optuna.pruners.MedianPruner(),
    "percentile": lambda share, epochs: optuna.pruners.PercentilePruner(share),
    "halving": lambda factor, epochs: optuna.pruners.SuccessiveHalvingPruner(reduction_factor=int(factor)),
    "hyperband": lambda factor, epochs: optuna.pruners.HyperbandPruner(
        max_resource=max(1, epochs), reduction_factor=int(factor)
    ),
    "threshold": lambda upper, epochs: optuna.pruners.ThresholdPruner(upper=upper),
}
"""By name, from the number after the colon and the epochs of a trial. A loss is reported after every epoch."""

_NUMBERS: Mapping[str, tuple[float, float, float]] = {
    "percentile": (25.0, 0.0, 100.0),
    "halving": (4.0, 2.0, 1000.0),
    "hyperband": (3.0, 2.0, 1000.0),
    "threshold": (1.0, 0.0, math.inf),
}
"""The number after a pruner's colon: default, least and most."""


def sampler_of(name: str, seed: int) -> BaseSampler:
    """The sampler that `--sampler` names. Raises `ScenarioError` with those there are."""
    if name not in SAMPLERS:
        raise ScenarioError(f"--sampler is one of {', '.join(SAMPLERS)}, not {name!r}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return SAMPLERS[name](seed)
    except ImportError as error:
        raise ScenarioError(f"--sampler {name} needs a package that is not here: pip install {error.name}.") from error


def pruner_of(text: str, epochs: int) -> BasePruner:
    """The pruner that `--pruner` names, such as "percentile:10". Raises `ScenarioError` with those there are."""
    name, _, number = text.partition(":")
    if name not in PRUNERS:
        raise ScenarioError(
            f"--pruner is one of {', '.join(PRUNERS)} (percentile:10 keeps the best 10%), not {text!r}."
        )
    if not number and name not in _NUMBERS:
        return PRUNERS[name](0.0, epochs)
    if name not in _NUMBERS:
        raise ScenarioError(f"--pruner {name} takes no number; leave {number!r} away.")
    default, least, most = _NUMBERS[name]
    try:
        value = float(number or default)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise ScenarioError(f"--pruner {name} takes a number from {least:g} to {most:g}, not {number!r}.")
    return PRUNERS[name](value, epochs)
