"""Functions that take functions, which PyTorch compiles before it runs them: `flex_attention` and `torch.cond`.

Nothing is compiled while a model is traced. Attention is the fused op as which it runs on a GPU, every position counted
(as causal attention is); a condition is asked of its tensor like any other, so that the dearer way is found.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from estimator.workload.fused import attention_call


def _flex_attention(query: Tensor, key: Tensor, value: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(result, log of the sum of exponentials, largest scores); `others` change scores, not products."""
    out = attention_call(query, key, value, enable_gqa=query.shape[1] != key.shape[1])
    rows = query.new_empty(query.shape[:-1], dtype=torch.float32)
    return out, rows, torch.empty_like(rows)


def _cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Sequence[Any] = ()) -> Any:
    return (true_fn if pred else false_fn)(*operands)


_STAND_INS: dict[str, dict[str, Any]] = {
    "torch.nn.attention.flex_attention": {
        "flex_attention_hop": _flex_attention,
        "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG": True,
        "_validate_device": lambda *_: None,
    },
    "torch._higher_order_ops.cond": {"cond_op": _cond},
    "torch._higher_order_ops.utils": {"_hop_compile_and_call": lambda call, args: call(*args)},
}
"""By module, what these functions look up when they run, where this torch has it."""


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """While active, `flex_attention` and `torch.cond` run as stand-ins, under whatever name code imported them."""
    with contextlib.ExitStack() as stack:
        for module, stand_ins in _STAND_INS.items():
            names = vars(importlib.import_module(module))
            before = {name: names[name] for name in stand_ins if name in names}
            names.update({name: stand_ins[name] for name in before})
            stack.callback(names.update, before)
        yield
