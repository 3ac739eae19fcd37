"""Gradient accumulation: an optimizer's step once in several batches, over the sum of their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from estimator.workload.ops import Op


def adding_ops(steps: Sequence[Op], accumulate: int, itemsize: int) -> Iterator[Op]:
    """What one batch in `accumulate` adds to the gradients that are there, on average: all batches but the first do.

    `steps` are the optimizer's ops, one a parameter; gradients have `itemsize` bytes an element. Two are read and one
    is written (torch/csrc/autograd/functions/accumulate_grad.h: in place).
    """
    for step in steps if accumulate > 1 else ():
        size = sum(map(prod, step.outputs)) * (accumulate - 1) // accumulate
        yield replace(
            step,
            phase="backward",
            name="add_",
            kind="elementwise",
            flops=size,
            bytes_read=2 * size * itemsize,
            bytes_written=size * itemsize,
            launches=1,
        )
