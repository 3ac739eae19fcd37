"""Sizes and parts that random networks are drawn from."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from torch import Tensor, nn

ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU,
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    lambda: nn.ReLU(inplace=True),
    lambda: nn.ReLU(inplace=True),
    nn.SiLU,
    lambda: nn.SiLU(inplace=True),
    nn.GELU,
    nn.GELU,
    nn.Hardswish,
    lambda: nn.Hardswish(inplace=True),
    nn.ReLU6,
    lambda: nn.ReLU6(inplace=True),
    nn.Tanh,
    nn.Sigmoid,
    nn.LeakyReLU,
    nn.ELU,
    nn.Softplus,
    lambda: nn.GELU(approximate="tanh"),
)


def log_uniform(r: random.Random, low: float, high: float) -> int:
    """A whole number whose logarithm is equally likely anywhere between the two ends."""
    return round(math.exp(r.uniform(math.log(low), math.log(high))))


def drawn_batch(r: random.Random, most: int) -> int:
    """One request at a time is common enough to be drawn often."""
    return 1 if r.random() < 0.25 else log_uniform(r, 1, most)


def drawn_width(r: random.Random, low: float, high: float) -> int:
    """A width: mostly a multiple of a power of two, as real ones are; kernels are faster on those."""
    unit = r.choices([1, 8, 16, 32, 64], [10, 20, 25, 25, 20])[0]
    return max(unit, unit * round(log_uniform(r, low, high) / unit))


class Residual(nn.Module):
    """x + body(x), added in place or not."""

    def __init__(self, body: nn.Module, in_place: bool = False) -> None:
        super().__init__()
        self.body, self.in_place = body, in_place

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that the body keeps."""
        y: Tensor = self.body(x)
        if self.in_place:
            y += x
            return y
        whole: Tensor = x + y
        return whole
