"""Calls that PyTorch runs as ONE kernel but would unroll, or refuse, on meta tensors.

`FuseCalls` redirects them while a model is traced: `scaled_dot_product_attention` and dropout to ops that have a meta
kernel and a backward, and each `nn.LSTM`/`nn.GRU`/`nn.RNN` call to one op of our own, instead of thousands. Products of
experts are those of `grouped`.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from estimator.workload.guesses import Guesses
from estimator.workload.kernels.grouped import GROUPED, grouped_call

RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
ATTENTION = frozenset({functional.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention.default})
DROPOUT = frozenset({functional.dropout, torch.dropout, torch.ops.aten.dropout.default})
"""Functions that drop elements, see `dropped`. Exported programs call those of ATen."""


def _traced_only(*args: Any) -> Any:
    raise NotImplementedError("joulecast's recurrent op exists for tracing only; it computes nothing")


_rnn = torch.library.custom_op(
    "joulecast::rnn",
    _traced_only,
    mutates_args=(),
    schema="(Tensor x, Tensor[] weights, int[] kernels, Tensor h, Tensor c, int width) -> (Tensor, Tensor, Tensor)",
)
_rnn_backward = torch.library.custom_op(
    "joulecast::rnn_backward",
    _traced_only,
    mutates_args=(),
    schema="(Tensor x, Tensor[] weights, int[] kernels, Tensor g) -> Tensor[]",
)


@_rnn.register_fake
def _rnn_shapes(
    x: Tensor, weights: Sequence[Tensor], kernels: Sequence[int], h: Tensor, c: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty((*x.shape[:-1], width)), torch.empty_like(h), torch.empty_like(c)


@_rnn_backward.register_fake
def _rnn_backward_shapes(x: Tensor, weights: Sequence[Tensor], kernels: Sequence[int], g: Tensor) -> list[Tensor]:
    return [torch.empty_like(t) for t in (x, *weights)]


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weights, ctx.kernels = inputs[:3]
    ctx.save_for_backward(x, *weights, _recurrent_workspace(x, weights, ctx.kernels))


def _recurrent_workspace(x: Tensor, weights: Sequence[Tensor], kernels: Sequence[int]) -> Tensor:
    """What a recurrent kernel keeps for its backward pass, of every step, sample, layer and direction.

    The gates and the states h and c; a GRU's reset gate acts on a product, which takes the place of c (oneDNN's
    ws_gates, ws_states and ws_grid; cuDNN's reserve holds the same).
    """
    gates = max(1, weights[0].shape[0] // weights[1].shape[1])  # rows (gates x width) of the recurrent matrix
    width = weights[0].shape[0] // min(gates, 4)  # a projection narrows the recurrent matrix
    kept = (min(gates, 4) + 2 if gates > 1 else 2) * width
    return x.new_empty(x.shape[0] * x.shape[1] * kernels[1] * kept)


def _gradients(ctx: Any, grad_out: Tensor, grad_h: Tensor, grad_c: Tensor) -> tuple[Any, ...]:
    x, *weights, _ = ctx.saved_tensors
    grad_x, *grad_weights = torch.ops.joulecast.rnn_backward(x, weights, ctx.kernels, grad_out)
    return grad_x, grad_weights, None, None, None, None


_rnn.register_autograd(_gradients, setup_context=_keep_inputs)


def _recurrent_call(name: str, x: Tensor, *args: Any) -> tuple[Tensor, ...]:
    """One `torch._VF.lstm` (or gru, rnn_*) call: padded (x, hx, weights, ...) or packed (x, batch_sizes, hx, ...).

    A packed x holds the steps below each other, as many as there are batch sizes: each of the whole batch (`_packed`),
    or, packed by hand, of fewer sequences from step to step. `h` has a row a layer and direction.
    """
    packed = isinstance(args[0], Tensor) and args[0].dim() == 1
    hx, weights, bidirectional = (args[1], args[2], args[7]) if packed else (args[0], args[1], args[6])
    batch_first = not packed and bool(args[7])
    h, c = hx if name == "lstm" else (hx, hx)
    if packed:
        length = args[0].shape[0]
        steps = x.reshape(length if x.shape[0] % length == 0 else 1, -1, *x.shape[1:])
    else:
        steps = x.transpose(0, 1) if batch_first else x  # (length, batch, features)
        length = steps.shape[0]
    width = h.shape[-1] * (1 + int(bidirectional))
    out, h_n, c_n = torch.ops.joulecast.rnn(steps, list(weights), [length, h.shape[0]], h, c, width)
    out = out.flatten(0, 1) if packed else out.transpose(0, 1) if batch_first else out
    return (out, h_n, c_n) if name == "lstm" else (out, h_n)


def attention_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Like `torch.nn.functional.scaled_dot_product_attention`, through an op that has a meta kernel and a gradient."""

    def four_dimensional(t: Tensor) -> Tensor:
        return t.flatten(0, t.dim() - 4) if t.dim() > 4 else t[(None,) * (4 - t.dim())]

    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.empty_like(attn_mask, dtype=query.dtype)
    out: Tensor = torch.ops.aten._scaled_dot_product_fused_attention_overrideable(
        four_dimensional(query), four_dimensional(key), four_dimensional(value), attn_mask, 0.0, is_causal, scale=scale
    )[0]
    return out.reshape(*query.shape[:-1], value.shape[-1])


def dropped(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, train: bool = True
) -> tuple[Tensor, float] | None:
    """The tensor and the probability where a call of one of `DROPOUT` is one kernel, `native_dropout`; else None.

    A GPU has that kernel (ATen/native/Dropout.cpp), which writes the result and a mask of a byte an element. In place,
    and for p = 1, it runs what every device runs: several ops. So it does where whole features are dropped, and for
    alpha dropout, which are functions of their own.
    """
    return (input, p) if training and train and not inplace and 0 < p < 1 else None


def _dropout_call(input: Tensor, p: float) -> Tensor:
    """Dropout in training by the op that a GPU takes, which has a meta kernel and a gradient."""
    return torch.native_dropout(input, p, True)[0]


# `nn.MultiheadAttention` calls attention and dropout from inside this function, where a function mode no longer looks.
_multi_head_attention = types.FunctionType(
    functional.multi_head_attention_forward.__code__,
    {
        **vars(functional),
        "scaled_dot_product_attention": attention_call,
        "dropout": _dropout_call,
        "has_torch_function": lambda tensors: False,
    },
    argdefs=functional.multi_head_attention_forward.__defaults__,
)


def _packed(x: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """`pack_padded_sequence` where every sequence has the full length: (data, batch sizes)."""
    steps = x.transpose(0, 1) if batch_first else x
    return steps.reshape(-1, *x.shape[2:]), torch.empty(steps.shape[0], dtype=torch.long, device="cpu")


def _padded(data: Tensor, sizes: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """`pad_packed_sequence` of such a batch: (padded sequences, their lengths)."""
    steps = data.reshape(sizes.shape[0], -1, *data.shape[1:])
    lengths = torch.empty(steps.shape[1], dtype=torch.long, device="cpu")
    return steps.transpose(0, 1) if batch_first else steps, lengths


class FuseCalls(TorchFunctionMode):
    """While active, attention, dropout, experts and recurrent layers are one op each; layer drop keeps its layer.

    `guesses` is told where a packed batch of sequences is taken to have the full length throughout.
    """

    def __init__(self, guesses: Guesses) -> None:
        super().__init__()
        self._guesses = guesses
        self._batches: dict[int, tuple[Tensor, int]] = {}  # of packed sequences: batch sizes (kept alive), the batch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in ATTENTION:
            return attention_call(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            return _multi_head_attention(*args, **kwargs)
        if func in DROPOUT and (given := dropped(*args, **kwargs)):
            return _dropout_call(*given)
        if func in GROUPED:
            return grouped_call(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in RECURRENT and getattr(torch._VF, name) is func:
            return _recurrent_call(name, *args, **kwargs)
        if name == "_pack_padded_sequence":
            self._guesses.note("every packed sequence has the full length (an upper bound)", "at most")
            data, sizes = _packed(args[0], args[2])
            self._batches[id(sizes)] = sizes, data.shape[0] // sizes.shape[0]
            return data, sizes
        if name == "_pad_packed_sequence":
            return _padded(args[0], args[1], args[2])
        if func is Tensor.__getitem__ and id(args[0]) in self._batches:  # the batch size at one step
            return self._batches[id(args[0])][1]
        if func is torch.rand and args in (([],), ((),)):  # layer drop: `torch.rand([]) < p`
            return 1.0
        return func(*args, **kwargs)
