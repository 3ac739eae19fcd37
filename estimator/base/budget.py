"""How much work a model may ask for, building and tracing alike, counted and not timed: the answer is the same anywhere.

`MAX_BUILD_CALLS` and `MAX_TRACE_STEPS` are the two numbers to change. What exceeds them is refused in one sentence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from estimator.base.errors import ModelFileError

MAX_BUILD_CALLS = 5_000_000
"""Calls and returns of functions while a model is built: layers, parameters and rounds of loops alike. About 5 s.

The largest of timm and transformers take about 1,600,000 (tables of relative positions, not layers)."""

MAX_TRACE_STEPS = 400_000
"""Ops and calls of layers in one pass. A training step of 120 transformer layers takes about 40,000."""

_REMEDY = "check the sizes in its config or file, or estimate a smaller model"


class OverBudget(ModelFileError):
    """Building or tracing the model takes more work than any model that is used."""


class Exhausted(BaseException):
    """The budget is spent. No `Exception`, so that nothing a library catches keeps the work going."""


class Budget:
    """Steps that may still be taken."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int = 1) -> None:
        """Take `steps`; raises `Exhausted` where none are left, again and again."""
        self.left -= steps
        if self.left < 0:
            raise Exhausted


def too_much_to_trace(steps: int) -> OverBudget:
    """The error for a pass that takes more than `steps`."""
    return OverBudget(f"one pass of the model takes more than {steps:,} ops and calls of layers: {_REMEDY}")


@contextmanager
def limited_calls() -> Iterator[None]:
    """The code inside makes at most `MAX_BUILD_CALLS` calls; nested, the outermost counts. Leaves no trace behind."""
    before = sys.getprofile()
    if isinstance(getattr(before, "__self__", None), _Calls):
        yield
        return
    budget = _Calls(MAX_BUILD_CALLS)
    steps = budget.left
    sys.setprofile(budget.count)
    try:
        yield
    except Exhausted as error:
        raise OverBudget(f"building the model takes more than {steps:,} steps: {_REMEDY}") from error
    finally:
        sys.setprofile(before)


class _Calls(Budget):
    __slots__ = ()

    def count(self, frame: FrameType, event: str, argument: Any) -> None:
        """What `sys.setprofile` calls."""
        self.left -= 1
        if self.left < 0:
            raise Exhausted
