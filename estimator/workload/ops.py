"""What a model does, as counted before it runs: `Op` and `Workload`.

One convention, everywhere: **2 FLOPs per multiply-accumulate**.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from estimator.workload.memory.peak import Allocations

Phase = Literal["forward", "backward", "optimizer"]
PHASES: tuple[Phase, ...] = ("forward", "backward", "optimizer")

Kind = Literal[
    "conv",
    "matmul",
    "attention",
    "rnn",
    "fft",
    "scan",
    "norm",
    "softmax",
    "embedding",
    "pool",
    "index",
    "copy",
    "reduce",
    "elementwise",
    "optimizer",
    "uncovered",
]

CONTRACTIONS: frozenset[Kind] = frozenset({"conv", "matmul", "attention", "rnn"})
"""Kinds whose FLOPs are multiply-accumulates: they run on matrix units, and published FLOP tables count only them."""

COUNTED: frozenset[Kind] = CONTRACTIONS | {"fft", "scan"}
"""Kinds with a FLOP formula of their own, which a workload's FLOPs are made of."""

Bound = Literal["exact", "at least", "at most", "about"]
"""How a count stands to what a real run does; "about" where it may be more or less."""


def bound_of(bounds: Iterable[Bound]) -> Bound:
    """The bound of a count to which each of `bounds` applies: one that all agree on, else "about"."""
    sides = set(bounds) - {"exact"}
    return "about" if len(sides) > 1 else next(iter(sides), "exact")


Shape = tuple[int, ...]

Layout = Literal["contiguous", "channels_last", "strided"]
"""How a tensor lies in memory: row by row, pictures with their channels last (`torch.channels_last`), or otherwise."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """What operands' shapes do not tell of a convolution. `transposed`: its weight is (c_in, c_out / groups, ...)."""

    groups: int = 1
    stride: tuple[int, ...] = (1,)
    dilation: tuple[int, ...] = (1,)
    transposed: bool = False


@dataclass(frozen=True, slots=True)
class Op:
    """One operation as PyTorch would dispatch it, for the whole batch.

    `flops` is exact (2 per multiply-accumulate) for contractions, 5 n log2 n for Fourier transforms, that of the
    products within a scan, and one per element for the rest; `bytes_read` and `bytes_written` are the traffic of
    this op alone, nothing fused with its neighbours; `launches` is the number of kernels that it stands for.
    `layer` is the dotted path of the module that called it, "" for the model itself or the loss. `layout` is that
    of its first input with two dimensions or more; a convolution's says how its kernels take input and weight.
    `convolution` is None for ops of other kinds. `causal`: of attention, whose kernels then skip what lies above
    the diagonal; `flops` count it all the same, as published tables do.
    """

    phase: Phase
    name: str
    kind: Kind
    flops: int
    bytes_read: int
    bytes_written: int
    dtype: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    layer: str
    layer_type: str
    launches: int = 1
    layout: Layout = "contiguous"
    convolution: Convolution | None = None
    causal: bool = False

    @property
    def bytes_moved(self) -> int:
        """Bytes read plus bytes written."""
        return self.bytes_read + self.bytes_written

    @property
    def arithmetic_intensity(self) -> float | None:
        """FLOPs per byte moved; None where no byte is moved."""
        return self.flops / self.bytes_moved if self.bytes_moved else None


@dataclass(frozen=True)
class Workload:
    """Every op of one pass over one batch: a forward pass, or a whole training step (forward, backward, optimizer).

    `module_calls` counts the calls of `nn.Module`s in the forward pass; `uncovered_ops` names ops without a FLOP
    formula and how often they ran (their bytes are counted, their FLOPs are not); `guesses` lists values that only
    real data would tell, and `guessed` how they bound the counts; `loss` names the loss of a training step, "" where
    there is none; `fused` names functions that are counted as one kernel, and not as what stands in for it here.
    The ops of the optimizer run once in `accumulate` batches. `allocations` is what the pass holds in memory, None
    where it was put together from parts.
    A host takes `dispatch` of what it takes to launch an op
    of eager PyTorch; the optimizer's are eager always.
    """

    ops: tuple[Op, ...]
    batch_size: int
    module_calls: int
    uncovered_ops: Mapping[str, int] = field(default_factory=dict)
    guesses: tuple[str, ...] = ()
    loss: str = ""
    guessed: Bound = "exact"
    fused: tuple[str, ...] = ()
    accumulate: int = 1
    allocations: Allocations | None = field(default=None, compare=False, repr=False)
    dispatch: float = 1.0

    @property
    def bound(self) -> Bound:
        """How the FLOPs stand to a real run's: "at least" where ops are uncovered, else as the guesses bound them."""
        return bound_of([self.guessed, "at least" if self.uncovered_ops else "exact"])

    @cached_property
    def flops(self) -> int:
        """FLOPs of `COUNTED` kinds for the batch: the convention of published tables (2 per multiply-accumulate)."""
        return sum(op.flops for op in self.ops if op.kind in COUNTED)

    @cached_property
    def bytes_moved(self) -> int:
        """Bytes read and written by all ops for the batch, of the optimizer's its part; unfused."""
        of_optimizer = sum(op.bytes_moved for op in self.of_phase("optimizer"))
        return sum(op.bytes_moved for op in self.ops) - of_optimizer + of_optimizer // self.accumulate

    @property
    def flops_per_sample(self) -> float:
        """FLOPs of one sample, of `COUNTED` kinds."""
        return self.flops / self.batch_size

    @property
    def bytes_per_sample(self) -> float:
        """Bytes moved for one sample; falls with the batch size, since weights are read once a batch."""
        return self.bytes_moved / self.batch_size

    def of_phase(self, phase: Phase) -> tuple[Op, ...]:
        """The ops of one phase, in the order in which they ran."""
        return tuple(op for op in self.ops if op.phase == phase)

    def flops_of(self, *, phase: Phase | None = None, kinds: Iterable[Kind] = COUNTED) -> int:
        """FLOPs of the ops of `kinds`, in `phase` or in all of them."""
        wanted = frozenset(kinds)
        return sum(op.flops for op in self.ops if op.kind in wanted and phase in (None, op.phase))
