"""Counts and sizes that a config claims, alone and added up: what no model has is refused before a library sees it.

A library spends time and memory on such a number at once, in loops that nothing can count from outside (`[x] * n`);
what is left, products of numbers that are each allowed, is stopped by the budget while it builds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line

_COUNTS = re.compile(
    r"(^|_)(layers?|depths?|blocks?|n_layer|num_experts|stages|repeats?|groups?|group_num|heads?)(_|$)"
)
_PICTURES = re.compile(r"(image|img|input|crop|video)_?(size|height|width|resolution)s?$|^resolution$")
_LABELS = {"num_labels", "num_classes"}
_MOST = ((_LABELS.__contains__, 1_000_000), (_COUNTS.search, 20_000), (_PICTURES.search, 16_384))
_MOST_OF_ANY = 2**40
_MOST_IN_A_LIST = 5
"""A list may add up to so many times what one number may be: some list the indices of layers."""
_DEEPEST = 50


def check(config: Mapping[str, Any], where: str, depth: int = 0) -> None:
    """Refuse counts of layers and labels, and sizes of pictures, that no model has; lists are added up."""
    if depth > _DEEPEST:
        raise ModelFileError(f"{where} nests its settings more deeply than any model: check the file")
    for key, value in config.items():
        if isinstance(value, Mapping):
            check(value, where, depth + 1)
            continue
        for part in value if isinstance(value, (list, tuple)) else ():
            if isinstance(part, Mapping):
                check(part, where, depth + 1)
        most = next((most for is_one, most in _MOST if isinstance(key, str) and is_one(key)), _MOST_OF_ANY)
        unbounded = most is _MOST_OF_ANY and (isinstance(value, float) or "max_length" in str(key))  # a mask's -1e38
        if not unbounded and _sum_of(value, 0) > most * (_MOST_IN_A_LIST if isinstance(value, (list, tuple)) else 1):
            raise ModelFileError(
                f"{where} claims {one_line(value, 40)} for {one_line(key, 40)}, more than any model has: check the file"
            )


def _sum_of(value: Any, depth: int) -> float:
    """The numbers in a value and in the lists within it, added up; a list of floats counts nothing (rope_theta)."""
    if depth and isinstance(value, float):
        return 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return abs(value) if isinstance(value, int) or math.isfinite(value) else 0.0
    if isinstance(value, (list, tuple)) and depth < _DEEPEST:
        return sum(_sum_of(part, depth + 1) for part in value)
    return 0.0
