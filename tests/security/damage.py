"""Damage by a seeded generator of random numbers: to bytes, and to values of JSON."""

from __future__ import annotations

import copy
import random
from typing import Any

VALUES: list[Any] = [None, -1, 0, 2**40, 10**30, 1.5, "", "x", "y", "../x", [], {}, [1, 2], True]
"""What a place in JSON is overwritten with."""
EXPORT_VALUES: list[Any] = [*VALUES, {"as_int": -3}, {"as_tensor": {"name": "x"}}]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """`content` with a few bytes changed, removed or repeated."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 5)):
        where = rng.randrange(len(changed))
        how = rng.randrange(4)
        if how == 0:
            changed[where] = rng.randrange(256)
        elif how == 1:
            del changed[where : where + rng.randint(1, 20)]
        elif how == 2:
            changed[where:where] = changed[where : where + rng.randint(1, 40)]
        else:
            changed[where:where] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))
    return bytes(changed)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found += [(value, key), *places(value[key])]
    return found


def damage_json(content: Any, rng: random.Random, values: list[Any], removed: float = 0.3) -> None:
    """One to three places of `content` removed, with probability `removed`, or overwritten with one of `values`."""
    for _ in range(rng.randint(1, 3)):
        left = places(content)
        if not left:  # the damage before took everything
            return
        container, key = rng.choice(left)
        if rng.random() < removed:
            del container[key]
        else:
            container[key] = copy.deepcopy(rng.choice(values))
