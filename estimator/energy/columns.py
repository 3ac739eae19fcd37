"""The ops of workloads as columns of numbers: made once per workload, priced on any number of machines.

Everything here comes from shapes, layouts and names; what a machine makes of it is `estimator.energy.pricing`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from estimator.workload.kinds import product_of
from estimator.workload.ops import PHASES, Kind, Op, Shape, Workload
from estimator.workload.optimizers import OPTIMIZERS

OpClass = Literal["conv", "winograd", "grouped", "matmul", "attention", "other"]
"""Ops that run at rates of their own. "winograd": dense 3x3 convolutions of stride and dilation 1, for which libraries
know an algorithm of fewer multiplications; "grouped": convolutions in groups, depthwise ones above all."""

OP_CLASSES: tuple[OpClass, ...] = get_args(OpClass)
DTYPES = ("float32", "bfloat16", "float16")
"""Dtypes with rates of their own; any other one is priced as float32."""

FRESH_BYTES = 32 * 2**20
"""glibc's DEFAULT_MMAP_THRESHOLD_MAX (malloc/malloc.c): larger blocks are mapped anew at every allocation."""

BLOCK: dict[Kind, int] = {"matmul": 64, "attention": 128}
"""Of the inner loop of these kernels: what is loaded while the block before is multiplied (CUTLASS, FlashAttention)."""

PLAIN_BLOCK = 8
"""Of a product that has no matrix units: CUTLASS's default tile of such kernels is as deep."""

QUERIES = 128
"""Rows of scores that a block of threads of a fused attention works on at a time (FlashAttention)."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_CLASS = {name: index for index, name in enumerate(OP_CLASSES)}
_DTYPE = {name: index for index, name in enumerate(DTYPES)}
_OF_KIND: dict[Kind, OpClass] = {"matmul": "matmul", "attention": "attention", "rnn": "matmul"}  # steps of an rnn
_PHASE = {name: index for index, name in enumerate(PHASES)}
_ITEMSIZE = {"float64": 8, "int64": 8, "complex64": 8, "bfloat16": 2, "float16": 2, "int16": 2}
_ITEMSIZE |= dict.fromkeys(("bool", "int8", "uint8", "float8_e4m3fn", "float8_e5m2"), 1)

_TEMPORARIES = {name: step.temporaries for name, step in OPTIMIZERS.items()}


def class_of(op: Op) -> OpClass:
    """The class of `op`, by its kind and, for a convolution, by its kernel and how it is set.

    x: (n, c_in, *spatial), w: (c_out, c_in / groups, *kernel), transposed (c_in, c_out / groups, *kernel).
    """
    if op.kind != "conv":
        return _OF_KIND.get(op.kind, "other")
    product, set_as = product_of(op.name), op.convolution
    if product is None or set_as is None or len(op.inputs) < product.first + 2:
        return "conv"
    if set_as.groups > 1:
        return "grouped"
    kernel = op.inputs[product.first + 1][2:]
    dense = not set_as.transposed and {*set_as.stride, *set_as.dilation} == {1}
    return "winograd" if tuple(kernel) == (3, 3) and dense else "conv"


def run_share(op: Op) -> float:
    """The share of an op's FLOPs that its kernels run: of causal attention over n x m scores those up to the diagonal.

    That begins at the first row's first column (torch's `scaled_dot_product_attention`).
    """
    if not op.causal:
        return 1.0
    product = product_of(op.name)
    q, k = op.inputs[product.first if product else 0 :][:2]
    rows, columns = max(1, q[-2]), max(1, k[-2])
    return (rows + 1) / (2 * columns) if rows <= columns else 1 - (columns - 1) / (2 * rows)


def exponentials(op: Op) -> float:
    """Exponentials of a fused attention's softmax, one a score that is run; 0 of other ops.

    q: (batch, heads, n, width), k: (batch, heads, m, width). A backward pass computes them again.
    """
    product = product_of(op.name)
    if product is None or product.kind != "attention" or len(op.inputs) < product.first + 2:
        return 0.0
    q, k = op.inputs[product.first :][:2]
    return run_share(op) * prod(q[:-1]) * k[-2]


def blocks(op: Op) -> float:
    """Blocks of the inner loop of a product, (m, k) x (k, n), or of attention's mean row of scores; else infinite."""
    product = product_of(op.name)
    if product is None or product.kind not in BLOCK or len(op.inputs) < product.first + 2:
        return math.inf
    a, b = op.inputs[product.first :][:2]
    depth = run_share(op) * b[-2] if product.kind == "attention" else a[-1]
    plain = product.kind == "matmul" and _ITEMSIZE.get(op.dtype, 4) > 2
    return max(1, depth) / (PLAIN_BLOCK if plain else BLOCK[product.kind])


def units(op: Op) -> float:
    """Blocks of threads of a fused attention: one for `QUERIES` rows of scores of a head of keys; 0 of other ops.

    q: (batch, heads, n, width), k: (batch, grouped heads, m, width): heads that share keys are rows of one block.
    """
    product = product_of(op.name)
    if product is None or product.kind != "attention" or len(op.inputs) < product.first + 2:
        return 0.0
    q, k = op.inputs[product.first :][:2]
    groups = max(1, prod(k[:-2]))
    return groups * math.ceil(prod(q[:-1]) / groups / QUERIES)


def norm(op: Op) -> int:
    """1 for a norm, 2 for the gradient of a norm or a softmax: they read rows more than once. 0 for other ops."""
    if op.phase == "backward":
        return 2 if op.kind in ("norm", "softmax") else 0
    return 1 if op.kind == "norm" else 0


KEYS = 256
"""Keys that a block of threads takes at least where few queries ask: the rest of the device takes the other keys."""


def results(op: Op) -> float:
    """Elements over which a device spreads an op's work: those of its largest result.

    Of a fused attention at least a tile for every block of threads: few queries split their keys among them.
    """
    elements = max((prod(shape) for shape in op.outputs), default=0)
    product = product_of(op.name)
    if product is None or product.kind != "attention" or len(op.inputs) < product.first + 2:
        return elements
    return max(elements, units(op) * math.ceil(op.inputs[product.first + 1][-2] / KEYS) * 64**2)


def fresh_bytes(op: Op) -> int:
    """Bytes for which the allocator must map new memory: those of every result above `FRESH_BYTES`, if not in place.

    A convolution copies its operands into oneDNN's layouts of blocks and its result out of one, unless channels are
    last already (a gradient is copied for each of the results that need it, what is strided once more); an optimizer
    makes temporaries. So page faults say (`calibration.measuring.stopwatch`) where blocks are above the threshold.
    """
    if op.name.endswith("_"):
        return 0
    itemsize = _ITEMSIZE.get(op.dtype, 4)

    def large(shapes: Sequence[Shape]) -> int:
        return sum(size for size in (prod(shape) * itemsize for shape in shapes) if size > FRESH_BYTES)

    results = large(op.outputs)
    if op.phase == "optimizer":
        return _TEMPORARIES.get(op.name, 0) * results
    if op.kind != "conv" or op.layout == "channels_last":
        return results
    product = product_of(op.name)
    backward, first = (product.backward, product.first) if product else (False, 0)
    gradients = sum(len(shape) > 1 for shape in op.outputs) if backward else 0
    operands = op.inputs[first:]
    again = large(operands[:1]) if op.layout == "strided" else 0
    return 2 * results + large(operands) + again + gradients * large(op.inputs[:1])


def relaid_bytes(op: Op) -> int:
    """Bytes that are moved to put channels last and back, where an algorithm needs them so: each operand and result of
    a convolution that does not keep them so is read and written once more (cuDNN's nchwToNhwc and nhwcToNchw)."""
    if op.kind != "conv" or op.layout == "channels_last":
        return 0
    moved = sum(prod(shape) for shape in (*op.inputs, *op.outputs) if len(shape) > 2)
    return 2 * moved * _ITEMSIZE.get(op.dtype, 4)


def biased_bytes(op: Op) -> int:
    """Bytes of the pass in which a GPU adds the bias of a convolution to its result, but for depthwise ones
    (ATen/native/Convolution.cpp: `output.add_` after cuDNN, which adds none)."""
    if op.name != "convolution" or len(op.inputs) < 3 or op.inputs[1][1:2] == (1,):
        return 0
    return 2 * sum(map(prod, op.outputs)) * _ITEMSIZE.get(op.dtype, 4)


def freed_bytes(op: Op) -> int:
    """Bytes that an optimizer's step gives back: the gradient, and mapped memory of temporaries; 0 for other ops."""
    if op.name not in OPTIMIZERS:
        return 0
    return sum(map(prod, op.outputs)) * _ITEMSIZE.get(op.dtype, 4) + fresh_bytes(op)


@dataclass(frozen=True)
class Columns:
    """The ops of one or several workloads, one row an op, in their order.

    `workload` and `phase` (an index into `PHASES`) say where an op belongs; `op_class` and `dtype` are indices into
    `OP_CLASSES` and `DTYPES`. `flops` are those that kernels run (`run_share`); `exponentials`, `blocks`, `units`,
    `norm`, `results`, `relaid_bytes`, `biased_bytes`: see the functions of these names. `kernels` are `Op.launches`,
    `calls` what the host does for one (`Workload.dispatch`), `times` how many such ops there are. Per workload:
    `module_calls`.
    """

    workload: Indices
    phase: Indices
    op_class: Indices
    dtype: Indices
    flops: Floats
    exponentials: Floats
    blocks: Floats
    units: Floats
    norm: Indices
    bytes_moved: Floats
    fresh_bytes: Floats
    relaid_bytes: Floats
    biased_bytes: Floats
    freed_bytes: Floats
    results: Floats
    kernels: Floats
    calls: Floats
    times: Floats
    module_calls: Floats

    @property
    def segments(self) -> Indices:
        """Where each op's cost is added up: workload x phase."""
        return len(PHASES) * self.workload + self.phase


_KEPT: dict[int, Columns] = {}
"""The columns of workloads that are alive, by identity: to compare two workloads takes longer than to make columns."""


def keep(workload: Workload, columns: Columns) -> None:
    """`columns` are those of `workload`, and are kept for as long as that is."""
    _KEPT[id(workload)] = columns
    finalize(workload, _KEPT.pop, id(workload)).atexit = False


def columns_of(workload: Workload) -> Columns:
    """The columns of one workload, made once."""
    if id(workload) not in _KEPT:
        keep(workload, _made(workload))
    return _KEPT[id(workload)]


def _made(workload: Workload) -> Columns:
    ops = workload.ops
    return Columns(
        workload=np.zeros(len(ops), dtype=np.intp),
        phase=np.array([_PHASE[op.phase] for op in ops], dtype=np.intp),
        op_class=np.array([_CLASS[class_of(op)] for op in ops], dtype=np.intp),
        dtype=np.array([_DTYPE.get(op.dtype, 0) for op in ops], dtype=np.intp),
        flops=np.array([run_share(op) * op.flops for op in ops], dtype=np.float64),
        exponentials=np.array([exponentials(op) for op in ops], dtype=np.float64),
        blocks=np.array([blocks(op) for op in ops], dtype=np.float64),
        units=np.array([units(op) for op in ops], dtype=np.float64),
        norm=np.array([norm(op) for op in ops], dtype=np.intp),
        bytes_moved=np.array([op.bytes_moved for op in ops], dtype=np.float64),
        fresh_bytes=np.array([fresh_bytes(op) for op in ops], dtype=np.float64),
        relaid_bytes=np.array([relaid_bytes(op) for op in ops], dtype=np.float64),
        biased_bytes=np.array([biased_bytes(op) for op in ops], dtype=np.float64),
        freed_bytes=np.array([freed_bytes(op) for op in ops], dtype=np.float64),
        results=np.array([results(op) for op in ops], dtype=np.float64),
        kernels=np.array([op.launches for op in ops], dtype=np.float64),
        calls=np.array([1.0 if op.phase == "optimizer" else workload.dispatch for op in ops], dtype=np.float64),
        times=np.ones(len(ops)),
        module_calls=np.array([workload.module_calls], dtype=np.float64),
    )


def joined(workloads: Sequence[Workload]) -> Columns:
    """The columns of several workloads below each other, to be priced at once."""
    parts = list(map(columns_of, workloads))

    def stacked(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])

    names = [name for name in Columns.__dataclass_fields__ if name != "workload"]
    index = np.repeat(np.arange(len(parts)), [len(part.flops) for part in parts])
    return Columns(workload=index, **{name: stacked(name) for name in names})  # type: ignore[arg-type]


def folded(columns: Columns) -> Columns:
    """The same with equal ops of a workload and phase in one row, and how many there are in `times`."""
    names = [name for name in Columns.__dataclass_fields__ if name not in ("times", "module_calls")]
    table = np.stack([getattr(columns, name) for name in names], axis=1, dtype=np.float64)
    rows, where = np.unique(table, axis=0, return_inverse=True)
    of = {name: rows[:, i].astype(getattr(columns, name).dtype) for i, name in enumerate(names)}
    times: Floats = np.bincount(where.ravel(), columns.times, len(rows)).astype(np.float64)
    return Columns(**of, times=times, module_calls=columns.module_calls)
