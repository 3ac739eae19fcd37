"""What `torch.amp.GradScaler` adds to a step: one pass over all gradients, before the optimizer's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from estimator.workload.ops import Op

_BYTES = 4
"""Of an element of a gradient: under autocast gradients are float32, as their parameters are."""


def unscaling_ops(steps: Sequence[Op]) -> Iterator[Op]:
    """The op that divides all gradients by the scale and looks for infinite ones; `steps` are the optimizer's.

    Each gradient is read and written once (torch/amp/grad_scaler.py, `_unscale_grads_`: one multi-tensor call).
    """
    shapes = tuple(shape for step in steps for shape in step.outputs)
    size = sum(map(prod, shapes))
    if size:
        yield Op(
            phase="optimizer",
            name="_amp_foreach_non_finite_check_and_unscale_",
            kind="elementwise",
            flops=size,
            bytes_read=_BYTES * size,
            bytes_written=_BYTES * size,
            dtype="float32",
            inputs=shapes,
            outputs=shapes,
            layer="",
            layer_type="GradScaler",
        )
