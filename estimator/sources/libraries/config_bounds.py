"""Counts and sizes that a config claims, multiplied and added up: what exceeds the budget never reaches a library.

A library spends time and memory on such a number at once, in loops that nothing can count from outside (`[x] * n`);
what is left, products of settings that are each allowed, is charged to the budget while the library builds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from estimator.base import budget
from estimator.base.errors import ModelFileError
from estimator.base.words import one_line

_COUNTS = re.compile(
    r"(^|_)(layers?|depths?|blocks?|n_layer|num_experts|stages|repeats?|groups?|group_num|heads?)(_|$)"
)
_PICTURES = re.compile(r"(image|img|input|crop|video)_?(size|height|width|resolution)s?$|^resolution$")
_LABELS = {"num_labels", "num_classes"}
_MOST_LABELS = 1_000_000
_MOST_OF_ANY = 2**40
_DEEPEST = 50


def check(config: Mapping[str, Any], where: str, depth: int = 0) -> None:
    """Refuse counts of layers and labels, and sizes of pictures, that no model has; those in lists together.

    Raises `ModelFileError`, and `OverBudget` for what `--limit` sets.
    """
    if depth > _DEEPEST:
        raise ModelFileError(f"{where} nests its settings more deeply than any model: check the file")
    for key, value in config.items():
        name = key if isinstance(key, str) else ""
        if _PICTURES.search(name):
            budget.check("elements", _elements(value))
        if isinstance(value, Mapping):
            check(value, where, depth + 1)
            continue
        for part in value if isinstance(value, (list, tuple)) else ():
            if isinstance(part, Mapping):
                check(part, where, depth + 1)
        claimed = _sum_of(value, 0)
        if _COUNTS.search(name):
            budget.check("layers", claimed)
        unbounded = isinstance(value, float) or "max_length" in name  # a mask's -1e38
        if claimed > (_MOST_LABELS if name in _LABELS else math.inf if unbounded else _MOST_OF_ANY):
            raise ModelFileError(
                f"{where} claims {one_line(value, 40)} for {one_line(key, 40)}, more than any model has: check the file"
            )


def _elements(size: Any) -> float:
    """Elements of a picture by its size: one number is both sides of a square, several are multiplied."""
    sides = size.values() if isinstance(size, Mapping) else size if isinstance(size, (list, tuple)) else (size, size)
    product = 1.0
    for side in sides:
        product *= _sum_of(side, 0) or 1
    return product


def _sum_of(value: Any, depth: int) -> float:
    """The numbers in a value and in the lists within it, added up; a list of floats counts nothing (rope_theta)."""
    if depth and isinstance(value, float):
        return 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(min(abs(value), 2**1000)) if isinstance(value, int) or math.isfinite(value) else 0.0
    if isinstance(value, (list, tuple)) and depth < _DEEPEST:
        return sum(_sum_of(part, depth + 1) for part in value)
    return 0.0
