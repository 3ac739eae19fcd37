"""Conditions on values that only data would tell: both ways are traced, and the dearer one is taken.

Trying every mixture of answers would take exponentially many traces. What is tried: every condition true, every one
false, then the conditions of the dearer trace turned singly, the first few of them. Where the model's code raises, the
condition asked last is turned, a few times over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from estimator.workload.guesses import Ways
from estimator.workload.ops import COUNTED
from estimator.workload.recorder import OpRecorder

_MENDED = 8
"""How many conditions of one way are turned because the model's code raised."""
_SINGLY = 4
"""How many conditions of the dearer way are turned one by one."""

_BOUND = "the dearer way: an upper bound"
_TRIED = "the dearest of all true, all false and some turned singly: an upper bound where they are independent"
_RAISES = "the dearest way tried that runs: on another the model's code raises"

Failures = tuple[type[BaseException], ...]


@dataclass
class _Tried:
    """What the ways tried so far gave: the dearest trace, how it was answered, and what was raised first."""

    run: Callable[[Ways], OpRecorder]
    failures: Failures
    best: OpRecorder | None = None
    ways: Ways | None = None
    differ: bool = False
    raised: BaseException | None = None

    def one(self, ways: Ways) -> bool:
        """Trace one way; whether the model's code ran."""
        try:
            found = self.run(ways)
        except self.failures as failure:
            self.raised = self.raised or failure
            return False
        if self.best is not None and _cost(found) != _cost(self.best):
            self.differ = True
        if self.best is None or _cost(found) > _cost(self.best):
            self.best, self.ways = found, ways
        return True

    def mended(self, ways: Ways) -> Ways:
        """Trace one way; where the code raises, with the condition that it asked last turned, a few times over."""
        for _ in range(_MENDED):
            if self.one(ways):
                break
            last = next((place for place in reversed(ways.asked) if place not in ways.flipped), None)
            if last is None:
                break
            ways = replace(ways, flipped=ways.flipped | {last}, asked={})
        return ways


def _cost(recorder: OpRecorder) -> tuple[int, int]:
    """FLOPs, then bytes moved: the order in which ways are compared."""
    flops = sum(op.flops for op in recorder.ops if op.kind in COUNTED)
    return flops, sum(op.bytes_moved for op in recorder.ops)


def dearest(run: Callable[[Ways], OpRecorder], failures: Failures) -> OpRecorder:
    """The dearest of the traces that `run` makes, whose guesses say how it was chosen.

    Raises what the first way raised, one of `failures`, where no way runs.
    """
    tried = _Tried(run, failures)
    first = tried.mended(Ways())
    if first.asked:
        tried.mended(Ways(answer=False))
    if tried.best is None or tried.ways is None:
        raise tried.raised or AssertionError("no way was tried")
    places = list(tried.ways.asked)
    for place in places[:_SINGLY] if len(places) > 1 else ():
        tried.one(replace(tried.ways, flipped=tried.ways.flipped ^ {place}, asked={}))
    if tried.raised or tried.differ:
        tried.ways.why = _RAISES if tried.raised else _BOUND if len(places) == 1 else _TRIED
    return tried.best
