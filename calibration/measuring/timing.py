"""Time every op of a network where it runs, and the network as a whole.

Ops timed alone, with warm caches, add up to 15-20% less than the networks they come from (design trials; published
data say 0.74-0.77). So they are timed in context: a dispatch mode sets a mark before and after each op while the whole
network runs. What one call of `scaled_dot_product_attention`, of dropout or of a recurrent layer dispatches counts as
the one op that the tracer makes of it, so that the times stand beside the ops of `estimator.workload.trace`, one for
one.
"""

from __future__ import annotations

import statistics
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import _get_sequence_nr  # type: ignore[attr-defined]
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from calibration.measuring.stopwatch import Stopwatch
from calibration.networks.random_networks import Network
from estimator.workload.formulas import OpFacts
from estimator.workload.fused import DROPOUT, RECURRENT, dropped
from estimator.workload.loss import training_loss
from estimator.workload.ops import PHASES, Op, Phase

_DROPOUT = "native_dropout"
_CALLS = RECURRENT | {"scaled_dot_product_attention"}
FUSED = _CALLS | {f"{name}_backward" for name in _CALLS}
"""Names that `OpTimer` gives to calls of attention and recurrent layers, which are traced by names of other ops."""

_OF_CUDNN = {
    f"{library}_batch_norm{direction}": f"native_batch_norm{direction}"
    for library in ("cudnn", "miopen")
    for direction in ("", "_backward")
}
"""Names that ops have on a GPU alone, and those that they are traced by."""

_OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-4),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=1e-4, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-4),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
}


@dataclass(frozen=True)
class WholeTime:
    """Seconds of one batch by phase (medians over `runs`), and how far runs scatter: interquartile range / median."""

    phases: dict[Phase, float]
    total_s: float
    scatter: float
    runs: int


@dataclass(frozen=True)
class OpTimes:
    """Median seconds of the ops of one batch, in the order they ran: forward and backward, and the optimizer's.

    `mapped`: bytes of memory that each op touched for the first time (medians); `step_mapped` is to `step_s` what it
    is to `seconds`. `step_at_once`: the optimizer's ops are on many parameters at once, as on a GPU.
    """

    names: tuple[str, ...]
    seconds: tuple[float, ...]
    mapped: tuple[float, ...]
    step_s: tuple[float, ...]
    step_mapped: tuple[float, ...]
    step_at_once: bool


class OpTimer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sets a mark before and after every op that the tracer would record. `names` and `marks` run in parallel.

    An entry of `marks` is a list of pairs: a fused call's backward pass dispatches several ops. `mapped`: bytes that
    each entry touched for the first time. `host_s`: how long the host took for each pair, in the order in which they
    were set; `before`: the same, the last time.
    """

    def __init__(self, stopwatch: Stopwatch, facts: dict[Any, OpFacts], before: Sequence[float] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.marks: list[list[tuple[Any, Any]]] = []
        self.mapped: list[float] = []
        self.host_s: list[float] = []
        self._stopwatch, self._facts, self._before = stopwatch, facts, before
        self.step_begins: int | None = None
        """The first entry that belongs to the optimizer's step."""
        self._calls: list[int] = []  # first and one-past-last autograd node of each fused call, in turn
        self._called: list[str] = []  # the name of each of them
        self._backward_of_call: dict[int, int] = {}  # call -> its entry

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        facts = self._facts.get(func)
        if facts is None:
            facts = self._facts[func] = OpFacts.of(func)
        if facts.free:
            return func(*args, **(kwargs or {}))
        return self._timed(self._entry(facts.name_of(kwargs or {})), lambda: func(*args, **(kwargs or {})))

    def _timed(self, entry: int, run: Callable[[], Any]) -> Any:
        """Run one op between two marks."""
        at = len(self.host_s)
        self._stopwatch.ready(self._before[at] if at < len(self._before) else 0.0)
        mapped = self._stopwatch.mapped_bytes()
        begun_s = time.perf_counter()
        start = self._stopwatch.mark()
        out = run()
        self.marks[entry].append((start, self._stopwatch.mark()))
        self.host_s.append(time.perf_counter() - begun_s)
        self.mapped[entry] += self._stopwatch.mapped_bytes() - mapped
        return out

    def call(self, name: str, run: Callable[[], Any]) -> Any:
        """Time a whole call as one op."""
        entry, first = self._new(name), _get_sequence_nr()
        with _disable_current_modes():  # it chooses its kernels as if nobody looked
            out = self._timed(entry, run)
        if _get_sequence_nr() > first:
            self._calls += [first, _get_sequence_nr()]
            self._called.append(name)
        return out

    def begin_step(self) -> None:
        """What comes now belongs to the optimizer."""
        self.step_begins = len(self.names)

    def _new(self, name: str) -> int:
        self.names.append(name)
        self.marks.append([])
        self.mapped.append(0.0)
        return len(self.names) - 1

    def _entry(self, name: str) -> int:
        node = torch._C._current_autograd_node()
        if node is None:
            return self._new(name)
        place = bisect_right(self._calls, node._sequence_nr())
        if place % 2 == 0:  # between two fused calls
            return self._new(name)
        called = self._called[place // 2]
        if place not in self._backward_of_call:
            self._backward_of_call[place] = self._new(f"{called}_backward")
        elif called == _DROPOUT:  # its backward pass is one op; this adds up gradients that meet
            return self._new(name)
        return self._backward_of_call[place]

    def seconds(self) -> list[float]:
        """Seconds of each entry."""
        flat = iter(self._stopwatch.seconds([pair for pairs in self.marks for pair in pairs]))
        return [sum(next(flat) for _ in pairs) for pairs in self.marks]


class _FusedCalls(TorchFunctionMode):
    """Tells the timer of calls that count as one op."""

    def __init__(self, timer: OpTimer) -> None:
        super().__init__()
        self._timer = timer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        fused = func is functional.scaled_dot_product_attention
        if fused or (name in RECURRENT and getattr(torch._VF, name) is func):
            return self._timer.call(name, lambda: func(*args, **kwargs))
        if func in DROPOUT and dropped(*args, **kwargs):
            return self._timer.call(_DROPOUT, lambda: func(*args, **kwargs))
        return func(*args, **kwargs)


def _nothing() -> None:
    """What is done between batches where nothing is."""


class Run:
    """One network, ready to run: a forward pass, or a training step where an optimizer is named."""

    def __init__(self, network: Network, stopwatch: Stopwatch) -> None:
        self._module, self._args, self._kwargs = network.module, network.args, network.kwargs
        self._stopwatch = stopwatch
        self._module.train(network.optimizer is not None)
        trained = [p for p in self._module.parameters() if p.requires_grad]
        self._optimizer = _OPTIMIZERS[network.optimizer](trained) if network.optimizer else None
        self._taken: list[list[float]] = []

    def __call__(self, before_step: Callable[[], Any] = _nothing) -> list[Any]:
        """Run once; the marks around its phases. `before_step` is called ahead of the optimizer's step."""
        marks = [self._stopwatch.mark()]
        with torch.set_grad_enabled(self._optimizer is not None):
            output = self._module(*self._args, **self._kwargs)
            if self._optimizer is not None:
                loss = training_loss(output)
                marks.append(self._stopwatch.mark())
                if isinstance(loss, Tensor):
                    loss.backward()  # type: ignore[no-untyped-call]
                marks.append(self._stopwatch.mark())
                before_step()
                self._optimizer.step()
                self._optimizer.zero_grad()
        marks.append(self._stopwatch.mark())
        return marks

    def warm_up(self) -> float:
        """Run until it runs as it will: twice. Seconds of the second run."""
        self()
        self._stopwatch.synchronize()
        started_s = time.perf_counter()
        self()
        self._stopwatch.synchronize()
        return time.perf_counter() - started_s

    def whole(self, runs: int, between: Callable[[], object] = _nothing) -> WholeTime:
        """`runs` runs more, with `between` called after each; medians over all so far."""
        taken = self._taken
        for _ in range(runs):
            taken.append(self._stopwatch.seconds(list(pairwise(self()))))
            between()
        totals = sorted(map(sum, taken))
        quarter = len(totals) // 4
        middle = statistics.median(totals)
        names: Sequence[Phase] = PHASES if self._optimizer is not None else PHASES[:1]
        phases = dict(zip(names, _medians(taken), strict=True))
        return WholeTime(phases, middle, (totals[-1 - quarter] - totals[quarter]) / middle, len(taken))

    def ops_in_context(self, passes: int, between: Callable[[], object] = _nothing) -> OpTimes:
        """Every op of a batch, timed in the order in which they run; `between` is called after each pass."""
        facts: dict[Any, OpFacts] = {}
        times, mapped = list[list[float]](), list[list[float]]()
        names, host_s, step = list[str](), list[float](), 0
        for _ in range(passes):
            timer = OpTimer(self._stopwatch, facts, host_s)
            with _FusedCalls(timer), timer:
                self(timer.begin_step)
            times.append(timer.seconds())
            mapped.append(timer.mapped)
            names, host_s = timer.names, timer.host_s
            step = len(names) if timer.step_begins is None else timer.step_begins
            between()
        seconds, touched = _medians(times), _medians(mapped)
        return OpTimes(
            names=tuple(names[:step]),
            seconds=seconds[:step],
            mapped=touched[:step],
            step_s=seconds[step:],
            step_mapped=touched[step:],
            step_at_once=any(name.startswith(("_foreach", "_fused")) for name in names[step:]),
        )


def _medians(passes: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(statistics.median(of_op) for of_op in zip(*passes, strict=True))


def by_parameter(values: Sequence[float], moved: Sequence[int], *, at_once: bool = False) -> list[float]:
    """What an optimizer's ops took (seconds, bytes), for each parameter tensor, of which the step moves so many bytes.

    On a CPU PyTorch's optimizers go through the parameters one by one, with the same ops for each. Ops on many
    parameters `at_once` (on a GPU) are shared out by the bytes.
    """
    if moved and not at_once and len(values) % len(moved) == 0:
        each = len(values) // len(moved)
        return [sum(values[i : i + each]) for i in range(0, len(values), each)]
    whole, total = sum(values), sum(moved) or 1
    return [whole * part / total for part in moved]


def beside(ops: Sequence[Op], names: Sequence[str]) -> list[int | None]:
    """For each traced op of the forward and backward pass, the index of the timed op that it is; None where none is.

    Networks run as they were traced but for a few ops (copies that only some devices make, say).
    """
    traced = ["fused" if op.kind in ("attention", "rnn") else op.name for op in ops]
    timed = ["fused" if name in FUSED else _OF_CUDNN.get(name, name) for name in names]
    found: list[int | None] = [None] * len(ops)
    for start, at, length in SequenceMatcher(None, traced, timed, autojunk=False).get_matching_blocks():
        found[start : start + length] = range(at, at + length)
    return found
