"""Products of groups of rows with a matrix each, as the experts of a mixture are multiplied, in every dtype.

PyTorch computes them in any dtype (as one kernel, or as a product a group), but its shapes on meta tensors are those of
bfloat16 alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

GROUPED = frozenset(
    found
    for found in (
        getattr(functional, "grouped_mm", None),
        getattr(torch, "_grouped_mm", None),
        torch.ops.aten._grouped_mm.default if hasattr(torch.ops.aten, "_grouped_mm") else None,
    )
    if found is not None
)
"""The functions of this torch, whose oldest that we allow has none."""


def _traced_only(*args: Any) -> Any:
    raise NotImplementedError("joulecast's grouped product exists for tracing only; it computes nothing")


_grouped = torch.library.custom_op(
    "joulecast::_grouped_mm",
    _traced_only,
    mutates_args=(),
    schema="(Tensor a, Tensor b, int groups) -> Tensor",
)


@_grouped.register_fake
def _grouped_shape(a: Tensor, b: Tensor, groups: int) -> Tensor:
    """(groups, m, n) where both have a group a matrix, or where both share its inner dimension out, else (rows, n)."""
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"grouped product of {tuple(a.shape)} and {tuple(b.shape)}: inner sizes differ")
    both_or_none = a.dim() == b.dim()
    return a.new_empty((*((groups,) if both_or_none else ()), a.shape[-2], b.shape[-1]))


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.groups = inputs[2]
    ctx.save_for_backward(*inputs[:2])


def _gradients(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    a, b = ctx.saved_tensors
    grad_a = _grouped(grad, b.transpose(-2, -1), ctx.groups) if ctx.needs_input_grad[0] else None
    grad_b = _grouped(a.transpose(-2, -1), grad, ctx.groups) if ctx.needs_input_grad[1] else None
    return grad_a, grad_b, None


_grouped.register_autograd(_gradients, setup_context=_keep_inputs)


def grouped_call(
    mat_a: Tensor,
    mat_b: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Like `torch.nn.functional.grouped_mm`, through an op that has shapes in every dtype and a gradient.

    mat_a: (rows, k) and mat_b: (groups, k, n), where `offs` tells each group's last row: (rows, n). Also (groups, m, k)
    with (k, columns), both with groups, and (m, rows) with (rows, n), of which each group has some: (groups, m, n).
    """
    if mat_a.dim() == 3 and mat_b.dim() == 2:
        return grouped_call(mat_b.mT, mat_a.mT, offs, None, out_dtype).mT
    groups = mat_b.shape[0] if mat_b.dim() == 3 else offs.shape[0] if offs is not None else 1
    out: Tensor = _grouped(mat_a, mat_b, groups)
    out = out if bias is None else out + bias
    return out if out_dtype is None or out_dtype == out.dtype else out.to(out_dtype)
