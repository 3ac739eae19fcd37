"""What a learned model of op times looks at: an op's group, its name, and numbers that tell how well it will run.

Everything here comes from shapes and layouts, so that an op is described in the same way when it is measured and when
it is priced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log, prod

from estimator.workload.kinds import Product, product_of
from estimator.workload.ops import Convolution, Kind, Op, Shape, Workload

FEATURES = 21
"""Length of `Described.features`."""


@dataclass(frozen=True, slots=True)
class Described:
    """One op. Ops of one `group` run on kernels of one sort, in one dtype; `features`: see `describe`."""

    group: str
    name: str
    features: tuple[float, ...]


def _log(x: float) -> float:
    """log(x) for sizes; 0 for none."""
    return log(x) if x > 1 else 0.0


def _alignment(n: int) -> float:
    """How often a size can be halved, up to 6 times: vector units work on blocks of channels."""
    return float(min(6, (n & -n).bit_length() - 1)) if n > 0 else 6.0


def _convolution(op: Op, product: Product) -> tuple[str, list[float]]:
    x, w = op.inputs[product.first :][:2]
    out = op.inputs[0] if product.backward else op.outputs[0]
    set_as = op.convolution or Convolution()
    batch = x[0] if len(x) == len(w) else 1
    spatial_in, spatial_out = prod(x[len(x) - len(w) + 2 :]), prod(out[len(out) - len(w) + 2 :])
    per_group = (w[0] // set_as.groups, w[1])
    entering, leaving = per_group if set_as.transposed else per_group[::-1]  # channels a group
    numbers = [
        _log(entering),
        _log(leaving),
        _log(prod(w[2:])),
        _log(spatial_out),
        _log(batch),
        log(max(spatial_in, 1) / max(spatial_out, 1)),
        _log(set_as.groups),
        float(op.launches),
        _alignment(entering),
        _alignment(leaving),
    ]
    return "depthwise convolution" if set_as.groups > 1 and entering == 1 else "convolution", numbers


def _product(op: Op, product: Product) -> tuple[str, list[float]]:
    a, b = op.inputs[product.first :][:2]
    m, k, n, batch = prod(a[-2:-1]), a[-1], b[-1] if len(b) > 1 else 1, prod(a[:-2])
    numbers = [_log(m), _log(k), _log(n), _log(batch), float(product.first), _log(min(m, k, n))]
    numbers += [_alignment(m), _alignment(k), _alignment(n)]
    return "batched matrix product" if len(a) > 2 else "matrix product", numbers


def _attention(op: Op, product: Product) -> tuple[str, list[float]]:
    q, k = op.inputs[product.first :][:2]
    masked = len(op.inputs) > (7 if product.backward else 3)
    return "attention", [_log(prod(q[:-2])), _log(q[-2]), _log(k[-2]), _log(q[-1]), float(masked)]


def _weights(op: Op) -> tuple[Shape, Shape]:
    """A recurrent layer's first two: (gates x hidden, features) and (gates x hidden, hidden)."""
    first, second = [shape for shape in op.inputs[1:] if len(shape) == 2][:2]
    return first, second


def _recurrent(op: Op, product: Product) -> tuple[str, list[float]]:
    first, second = _weights(op)
    gates = first[0] / max(1, second[1])
    return "recurrent", [*map(_log, op.inputs[0][:3]), _log(op.launches), _log(second[1]), gates]


def _name(op: Op) -> str:
    """An op's name; a recurrent layer's with its gates, since an LSTM (4) runs on other kernels than a GRU (3)."""
    if op.kind != "rnn":
        return op.name
    first, second = _weights(op)
    return f"{op.name} of {first[0] // max(1, second[1])} gates"


def _other(op: Op) -> tuple[str, list[float]]:
    shapes: Sequence[Shape] = op.inputs or op.outputs or ((1,),)
    largest = max(shapes, key=prod) or (1,)
    numbers = [
        _log(largest[-1]),
        _log(prod(largest[:-1])),
        float(len(largest)),
        _log(largest[1] if len(largest) > 1 else 1),
        float(len(op.inputs)),
        float(len(set(op.inputs))),
        float(op.launches),
    ]
    return op.kind, numbers


_BY_KIND: Mapping[Kind, Callable[[Op, Product], tuple[str, list[float]]]] = {
    "conv": _convolution,
    "matmul": _product,
    "attention": _attention,
    "rnn": _recurrent,
}


def _one(op: Op, context: tuple[float, float], before: int) -> Described:
    try:
        product = product_of(op.name)
        group, numbers = _BY_KIND[product.kind](op, product) if product else _other(op)
        name = _name(op)
    except (IndexError, ValueError):  # an op of this kind with arguments of its own (a dot product, an outer product)
        (group, numbers), name = _other(op), op.name
    moved, written = op.bytes_moved, prod(op.outputs[0]) if op.outputs else 0
    features = [
        _log(op.flops),
        _log(moved),
        _log(written),
        log((op.flops + 1) / (moved + 1)),
        float(op.phase == "backward"),
        log((op.bytes_read + 1) / (op.bytes_written + 1)),
        *context,
        _log(before),
        float(op.layout == "channels_last"),
        float(op.layout == "strided"),
        *numbers,
    ]
    return Described(f"{group} {op.dtype}", name, tuple(features + [0.0] * (FEATURES - len(features))))


def describe(workload: Workload) -> list[Described]:
    """Every op of `workload`, in its order.

    The first eleven features are the same for all groups: logarithms of FLOPs, bytes, elements written, FLOPs per byte;
    backward or not; log of bytes read over written; the whole batch's bytes (what may stay in a cache), training or
    not; bytes written by the op before (which may still be cached); whether channels are last, or the input is strided.
    Then come sizes that the group's kernels depend on.
    """
    training = float(any(op.phase != "forward" for op in workload.ops))
    context = _log(sum(op.bytes_moved for op in workload.ops)), training
    before, described = 0, []
    for op in workload.ops:
        described.append(_one(op, context, before))
        before = op.bytes_written
    return described
