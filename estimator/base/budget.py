"""How much work a model may ask for, building and tracing alike, counted and not timed: the same anywhere.

`MAX_BUILD_CALLS`, `MAX_OPS` and `MAX_LAYER_CALLS` are the numbers to change; what exceeds them is one sentence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from estimator.base.errors import ModelFileError

MAX_BUILD_CALLS = 2_500_000
"""Calls and returns of functions while a model is built: layers, parameters and rounds of loops alike. A few seconds.

The largest of timm and transformers take about 1,600,000 (tables of relative positions, not layers)."""

MAX_OPS = 600_000
"""Ops in one pass. A training step of 80 transformer layers takes 17,000; Mamba's loop over 512 tokens 500,000."""

MAX_LAYER_CALLS = 40_000
"""Calls of layers in one pass, each of which brings several ops. 80 transformer layers make 1,400."""

_REMEDY = "check the sizes in its config or file, or give a smaller model or input"


class OverBudget(ModelFileError):
    """Building or tracing the model takes more work than any model that is used."""


class Exhausted(BaseException):
    """The budget is spent. No `Exception`, so that nothing a library catches keeps the work going."""


class Budget:
    """Steps that may still be taken, and what they are called in the refusal."""

    def __init__(self, steps: int, what: str) -> None:
        self.left, self.told = steps, f"{steps:,} {what}"

    def spend(self, steps: int = 1) -> None:
        """Take `steps`; raises `Exhausted` where none are left, again and again."""
        self.left -= steps
        if self.left < 0:
            raise Exhausted(self.told)


def too_much_to_trace(error: Exhausted) -> OverBudget:
    """The error for a pass that takes more than it may."""
    return OverBudget(f"one pass of the model takes more than {error}: {_REMEDY}")


@contextmanager
def limited_calls() -> Iterator[None]:
    """The code inside makes at most `MAX_BUILD_CALLS` calls; nested, the outermost counts. Leaves no trace behind."""
    before = sys.getprofile()
    if isinstance(getattr(before, "__self__", None), _Calls):
        yield
        return
    budget = _Calls(MAX_BUILD_CALLS, "steps")
    sys.setprofile(budget.count)
    try:
        yield
    except Exhausted as error:
        raise OverBudget(f"building the model takes more than {error}: {_REMEDY}") from error
    finally:
        sys.setprofile(before)


class _Calls(Budget):
    def count(self, frame: FrameType, event: str, argument: Any) -> None:
        """What `sys.setprofile` calls."""
        self.spend()
