"""Whether inductor keeps pictures with their channels last in a network that it compiles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from estimator.workload.kinds import product_of
from estimator.workload.ops import Op, Shape

_WEIGHED = {"grouped": 1.358, "small": 0.783, "in_out": 0.725, "default": 0.823}
"""Time with channels last over without, by sort of convolution, as inductor has it from benchmarks of its own."""

_MOST_OPS = 300
"""In a network with more ops a convolution than this, inductor leaves layouts alone."""


def with_channels_last(ops: Sequence[Op]) -> list[Op]:
    """`ops`, whose convolutions take channels last where inductor decides for it (GraphLowering.decide_layout_opt)."""
    if not _decides(ops):
        return list(ops)
    return [replace(op, layout="channels_last") if op.kind == "conv" else op for op in ops]


def _decides(ops: Sequence[Op]) -> bool:
    convolutions = [op for op in ops if op.kind == "conv" and op.phase == "forward"]
    if not convolutions or len(ops) >= _MOST_OPS * len(convolutions):
        return False
    sorts = [(_sort(op), op) for op in convolutions]
    if all(op.phase == "forward" for op in ops):
        flops: dict[str, int] = defaultdict(int)
        for sort, op in sorts:
            flops[sort] += op.flops
        return sum(_WEIGHED[sort] * count for sort, count in flops.items()) <= sum(flops.values())
    weights = [_weight(op) for op in convolutions]
    return not (any(sort == "grouped" for sort, _ in sorts) or any(map(_narrows, weights)) or all(map(_small, weights)))


def _weight(op: Op) -> Shape:
    """(c_out, c_in / groups, *kernel)."""
    product = product_of(op.name)
    return op.inputs[(product.first if product else 0) + 1]


def _small(weight: Shape) -> bool:
    return max(weight[:2]) <= 64


def _narrows(weight: Shape) -> bool:
    return 2 * weight[0] <= weight[1] and weight[2] > 1


def _sort(op: Op) -> str:
    weight = _weight(op)
    if op.convolution is not None and op.convolution.groups > 1 and weight[1] > 1:
        return "grouped"
    return "small" if _small(weight) else "in_out" if _narrows(weight) else "default"
