"""Tensors within containers and objects, changed in their places."""

from __future__ import annotations

import types
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass

from estimator.base.nests import each, with_each

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Frozen:
    value: object
    label: str = "x"


@dataclass(slots=True)
class Slotted:
    value: object


NEST = {
    "list": [1.0, None],
    "pair": Pair((2.0, "text"), 3.0),
    "frozen": Frozen({"deep": 4.0}),
    "slotted": Slotted(5.0),
    "own": types.SimpleNamespace(value=6.0),
    "ordered": OrderedDict(a=7.0),
    "user": UserDict(a=8.0),
}


def test_each_is_found_and_changed_in_its_place():
    assert each(NEST, float) == [float(n) for n in range(1, 9)]
    changed = with_each(NEST, float, lambda value: value * 10)
    assert each(changed, float) == [float(10 * n) for n in range(1, 9)]
    assert each(NEST, float)[0] == 1.0  # the given one is left as it is
    assert {name: type(value) for name, value in changed.items()} == {name: type(v) for name, v in NEST.items()}
    assert changed["pair"].right == 30 and changed["frozen"].label == "x" and changed["own"].value == 60.0


def test_what_holds_none_is_the_same_object_and_circles_end():
    circle = [1]
    circle.append(circle)
    assert with_each(circle, float, str) is circle
    held = {"a": 1.0}
    held["self"] = held
    assert with_each(held, float, lambda value: value + 1)["a"] == 2.0


def test_what_is_called_is_not_looked_into():
    def function():
        return 1.0

    function.value = 1.0
    assert each([function, Frozen], float) == []
