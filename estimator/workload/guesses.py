"""Values that only data would tell: what is guessed in their place, and how the guesses are told.

Every guess is stated (true or false, present, 1, all different, repeated once), and a loop on a guessed value is ended.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from estimator.workload.known import KnownValues
from estimator.workload.ops import Bound, bound_of

aten = torch.ops.aten

READS_VALUES = frozenset(
    {aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten.repeat_interleave, aten._unique2}
)
"""Ops whose result depends on the values of a tensor."""
_INDEXING = frozenset({aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_})

_ROUNDS = 1000
"""A loop that goes on while a guessed value is true, or not 0, is taken to end after as many rounds."""
_ENDS = 3
"""How often one place may end a loop so; the next time it is endless."""
_READS = 1_000_000
"""Reads in one place without a new op between them: `tolist` makes one an element."""

LOOP = "a loop on a tensor's value"
"""How the guess begins that a loop ends."""

_TRACER = str(Path(__file__).with_name("trace.py"))
_CONDITIONS = frozenset({"a condition", "equal"})
_UPPER = "(an upper bound)"
_TAKEN = {
    "nonzero": f"every element kept {_UPPER}",
    "masked_select": f"every element selected {_UPPER}",
    "_unique2": f"all elements different {_UPPER}",
    "repeat_interleave": "every element repeated once (data may repeat it more or less often)",
}
_BOUNDS: dict[str, Bound] = {
    "nonzero": "at most",
    "masked_select": "at most",
    "_unique2": "at most",
    "repeat_interleave": "about",
}


class NeedsValues(RuntimeError):
    """The model reads a tensor's value, which a meta tensor does not have."""


class EndlessLoop(RuntimeError):
    """The model loops on a guessed value, and no guess ends it."""


@dataclass
class _Place:
    """One call in the model's code that reads values: reads in all, and rounds (reads after new ops) since an end."""

    reads: int = 0
    rounds: int = 0
    ends: int = 0
    ops: int = -1

    def ends_here(self, ops: int) -> bool:
        """Whether a loop ends at this read, `ops` being the number of ops so far."""
        self.reads += 1
        if ops > self.ops:
            self.ops, self.rounds = ops, self.rounds + 1
        if self.rounds <= _ROUNDS and self.reads <= _READS:
            return False
        if self.ends == _ENDS or self.reads > _READS:
            raise EndlessLoop
        self.rounds, self.ends = 0, self.ends + 1
        return True


@dataclass
class Ways:
    """How one trace answers conditions on unknown values: all alike, but for those at `flipped` places of the code.

    `asked` are the places that were asked, the last one last; `why` is what a guess says of the way that was taken.
    """

    answer: bool = True
    flipped: frozenset[Hashable] = frozenset()
    asked: dict[Hashable, None] = field(default_factory=dict)
    why: str = ""

    def take(self, place: Hashable) -> bool:
        """The answer at `place`, which counts as asked."""
        self.asked.pop(place, None)
        self.asked[place] = None
        return self.answer is not (place in self.flipped)


class Guesses:
    """Makes the guesses of one trace, and keeps count of them; where `ways` is None, none is allowed."""

    def __init__(self, ways: Ways | None) -> None:
        self._ways = ways
        self.known = KnownValues()
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._bounds: set[Bound] = set()
        self._places: dict[Hashable, _Place] = {}

    def note(self, sentence: str, bound: Bound = "exact") -> None:
        """Keep a guess that belongs to no layer, and how it bounds what is counted."""
        self._counts[sentence, "", ""] += 1
        self._bounds.add(bound)

    def read(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], layer: str, ops: int) -> Any:
        """The result of `func`, one of `READS_VALUES`, if it is known, else the guess. `ops` have run so far.

        Raises `NeedsValues` where no guess is allowed, `EndlessLoop` where guesses never end a loop.
        """
        name, t = func._overloadpacket.__name__, args[0]
        if self._ways is None:
            raise NeedsValues(name)
        known = self.known.result(func, args, kwargs)
        if known is not None:
            return known
        try:
            return func(*args, **kwargs)  # FakeTensorMode knows constants
        except (DataDependentOutputException, DynamicOutputShapeException, NotImplementedError, RuntimeError):
            what, over = _asked(name, t), self._ends_loop(name, layer, ops)
            condition = self._ways.take((name, *_callers_place())) if what in _CONDITIONS else True
            guess = _guess(name, t, condition is over)
        if not over:
            self._counts[what, layer, _TAKEN.get(name, str(guess).removesuffix(".0"))] += 1
            if what not in _CONDITIONS:  # the length 1 is the least; a floating number is no length
                self._bounds.add(_BOUNDS.get(name, "at least" if isinstance(guess, int) else "about"))
        return guess

    @property
    def bound(self) -> Bound:
        """How the guesses bound what is counted; a condition does where its ways differ, or one does not run."""
        conditions = any(what in _CONDITIONS for what, _, _ in self._counts)
        dearer: Bound = "at most" if conditions and self._ways is not None and self._ways.why else "exact"
        return bound_of([*self._bounds, dearer])

    @property
    def allowed(self) -> bool:
        """Whether values may be guessed, so that it is worth knowing which need not be."""
        return self._ways is not None

    def whole_masks(self, packet: Any, args: tuple[Any, ...], layer: str, ops: int) -> tuple[Any, ...]:
        """`args` of an op, those of `x[mask]` with every element of the mask selected."""
        if packet not in _INDEXING or not any(i is not None and i.dtype == torch.bool for i in args[1]):
            return args
        if self.allowed:
            masks = [i for i in args[1] if i is not None and i.dtype == torch.bool]
            known = [found for i in masks if (found := self.known.selected(i)) is not None]
            if len(known) == len(masks):
                return (args[0], _expanded(args[1], known), *args[2:])
        over = self._ends_loop("mask", layer, ops)
        if not (over or _in_autograd()):
            self._counts["a boolean mask", layer, f"every element selected {_UPPER}"] += 1
            self._bounds.add("at most")
        return (args[0], _selected(args[1], over), *args[2:])

    def told(self) -> tuple[str, ...]:
        """The guesses in words, alike ones of alike layers ("blocks.0", "blocks.1") as one with their number."""
        alike: dict[tuple[str, str, str], Counter[str]] = {}
        for (what, layer, taken), n in self._counts.items():
            alike.setdefault((what, re.sub(r"\b\d+\b", "*", layer), taken), Counter())[layer] += n
        return tuple(
            _sentence(what, pattern if len(layers) > 1 else next(iter(layers)), self._why(what, taken), layers.total())
            for (what, pattern, taken), layers in alike.items()
        )

    def _why(self, what: str, taken: str) -> str:
        return f"{taken} ({self._ways.why})" if what in _CONDITIONS and self._ways and self._ways.why else taken

    def _ends_loop(self, name: str, layer: str, ops: int) -> bool:
        if _in_autograd():
            return False
        place = self._places.setdefault((name, layer, *_callers_place()), _Place())
        ends = place.ends_here(ops)
        if ends:
            self._counts[LOOP, layer, f"taken to end after {_ROUNDS:,} rounds"] += 1
            self._bounds.add("at least")
        return ends


def _sentence(what: str, layer: str, taken: str, times: int) -> str:
    said = f"{what} in {layer or 'the model'}: {taken}" if taken else what
    return f"{said} ({times:,} times)" if times > 1 else said


def _asked(name: str, t: Tensor) -> str:
    """What the model asked for, in its own words."""
    if name == "_local_scalar_dense":
        return "a condition" if t.dtype == torch.bool else ".item()"
    return "unique" if name == "_unique2" else name


def _guess(name: str, t: Tensor, over: bool) -> Any:
    """The guess for the result of `name` on `t`; `over`: the one that ends a loop, which is false, 0 or nothing."""
    if name == "_local_scalar_dense":
        return not over if t.dtype == torch.bool else float(not over) if t.is_floating_point() else int(not over)
    if name == "equal":
        return not over
    n = 0 if over else t.numel()
    if name == "repeat_interleave":
        return t.new_empty(n)
    if name == "_unique2":
        return t.new_empty(n), t.new_empty(t.shape, dtype=torch.long), t.new_empty(n, dtype=torch.long)
    return t.new_empty((n, t.dim()), dtype=torch.long) if name == "nonzero" else t.new_empty(n)


def _selected(indices: Sequence[Tensor | None], over: bool) -> list[Tensor | None]:
    """`x[mask]` with every element selected: each boolean mask becomes the index tensors that it stands for."""
    out: list[Tensor | None] = []
    for i in indices:
        mask = i is not None and i.dtype == torch.bool
        n = 0 if over or i is None else i.numel()
        out += [i.new_empty(n, dtype=torch.long)] * i.dim() if mask and i is not None else [i]
    return out


def _expanded(indices: Sequence[Tensor | None], known: Iterable[list[Tensor]]) -> list[Tensor | None]:
    """`x[mask]` with each boolean mask as the index tensors that it is known to stand for."""
    out: list[Tensor | None] = []
    masks = iter(known)
    for i in indices:
        out += next(masks) if i is not None and i.dtype == torch.bool else [i]
    return out


def _in_autograd() -> bool:
    """Whether an op is the gradient of another, not the model's own call (which a checkpoint repeats)."""
    return torch._C._current_autograd_node() is not None and _callers_place()[0] is None


def _callers_place() -> tuple[Hashable, int]:
    """File and line of the model's code that runs now: the innermost that is neither torch's nor ours."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "estimator"):
        if frame.f_code.co_filename == _TRACER:  # a model made of torch's own layers, or autograd's own ops
            return None, 0
        frame = frame.f_back
    return frame.f_code, frame.f_lineno
