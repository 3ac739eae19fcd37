"""The bytes of weights that are stored in fewer bits than the run's dtype: of each op that reads one, and in all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor, nn

from estimator.sources.stored import stored_bytes
from estimator.workload.ops import Op, Shape


def with_stored_weights(ops: Iterable[Op], module: nn.Module, itemsize: int) -> list[Op]:
    """`ops`, of which those that multiply with a stored weight read it as it is stored.

    `itemsize`: bytes of an element in the run's dtype, in which the op was traced and is still computed.
    """
    stored = {
        name: (layer, size) for name, layer in module.named_modules() if (size := stored_bytes(layer)) is not None
    }
    return [_read(op, *stored[op.layer], itemsize) if op.layer in stored else op for op in ops]


def _read(op: Op, layer: nn.Module, size: int, itemsize: int) -> Op:
    """`op` of `layer`, whose weight has `size` bytes; a matrix may be read transposed, and broadcast over batches."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    shape: Shape = tuple(weight.shape)
    forms = {shape, shape[::-1]} if len(shape) == 2 else {shape}
    if op.kind not in ("matmul", "conv") or not any(given[-len(shape) :] in forms for given in op.inputs):
        return op
    return replace(op, bytes_read=op.bytes_read - weight.numel() * itemsize + size)


def spared_bytes(module: nn.Module, itemsize: int) -> int:
    """Bytes of memory by which the weights of `module` are smaller than in a dtype of `itemsize` bytes an element."""
    sizes = ((layer, stored_bytes(layer)) for layer in module.modules())
    return sum(layer.weight.numel() * itemsize - size for layer, size in sizes if size is not None)  # type: ignore[operator, misc]
