"""Simulated learning curves: what the losses of trials that were never run might have been.

    loss(e) = floor + (1 - floor) * e^-rate, times exp(noise)        e = 1, 2, ... epochs

the three-parameter power law (pow3) of Domhan, Springenberg and Hutter, "Speeding up automatic hyperparameter
optimization of deep neural networks by extrapolation of learning curves", IJCAI 2015, scaled to 1 after the first
epoch. The spreads are stated choices, not measurements: a search is simulated several times, each time in another
world.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


@dataclass(frozen=True)
class Curves:
    """How learning curves differ.

    `spread` is the standard deviation of log(floor) between trials, of which `explained` (of the variance) comes from
    the trial's parameters, in a direction that every world draws anew, so that a sampler has something to learn.
    `rate_spread` is that of log(rate), `noise` that of log(loss) from epoch to epoch. `floor` and `rate` are medians.
    """

    spread: float = 0.3
    explained: float = 0.5
    floor: float = 0.3
    rate: float = 0.7
    rate_spread: float = 0.3
    noise: float = 0.02


class World:
    """One way in which losses may depend on parameters. The same `seed` is the same world."""

    def __init__(self, curves: Curves, seed: int) -> None:
        self._curves, self._seed = curves, seed
        self._weights: dict[str, NDArray[np.float64]] = {}

    def _effect(self, name: str, value: Any, distribution: BaseDistribution) -> float:
        """What one parameter does: with mean 0 and variance 1 over its range and over all worlds."""
        if name not in self._weights:
            random = np.random.default_rng([self._seed, *name.encode()])
            self._weights[name] = random.standard_normal(len(getattr(distribution, "choices", "1")))
        weights = self._weights[name]
        if isinstance(distribution, CategoricalDistribution):
            return float(weights[distribution.choices.index(value)])
        if not isinstance(distribution, (FloatDistribution, IntDistribution)) or distribution.low == distribution.high:
            return 0.0
        scale = math.log if distribution.log else float
        low, high = scale(distribution.low), scale(distribution.high)
        return float(weights[0]) * math.sqrt(12) * ((scale(value) - low) / (high - low) - 0.5)

    def curve(
        self, trial: int, epochs: int, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
    ) -> NDArray[np.float64]:
        """The losses of trial number `trial` after each of `epochs` epochs."""
        c, random = self._curves, np.random.default_rng([self._seed, trial])
        own, of_rate = random.standard_normal(2)
        effects = [self._effect(name, value, distributions[name]) for name, value in params.items()]
        learned = math.fsum(effects) / math.sqrt(max(1, len(effects)))
        deviation = math.sqrt(c.explained) * learned + math.sqrt(1 - c.explained) * own
        floor = c.floor * math.exp(c.spread * deviation)
        rate = c.rate * math.exp(c.rate_spread * of_rate)
        losses = floor + (1 - floor) * np.arange(1, epochs + 1, dtype=np.float64) ** -rate
        curve: NDArray[np.float64] = losses * np.exp(c.noise * random.standard_normal(epochs))
        return curve
