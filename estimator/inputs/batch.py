"""Where the batch stands: recurrent layers and attention know it, so a pass that ends at the first of them asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from estimator.base.errors import InputError
from estimator.base.words import one_line
from estimator.sources.inputs import InputSpec, build_inputs
from estimator.workload.guesses import Ways
from estimator.workload.modes import module_mode
from estimator.workload.trace import FAILURES, TraceInputs, recording

_PRIMES = (37, 41, 43, 47, 53, 59, 61, 67, 71, 73)
"""Batch sizes to try with: large enough to be no other size of a model by chance, small enough to loop over."""

Specs = tuple[InputSpec, ...]
_Verdict = Literal["right", "swapped", "unknown"]


class _Reached(BaseException):
    """The first layer that knows where its batch stands was called: its path, its type, and what it was given."""

    def __init__(self, layer: str, batch_dim: int, shape: torch.Size) -> None:
        super().__init__()
        self.layer, self.batch_dim, self.shape = layer, batch_dim, shape


def placed_batch(module: nn.Module, specs: Specs, dtype: torch.dtype) -> tuple[Specs, str]:
    """`specs` with the batch where the first layer that knows takes it, and the sentence that says so.

    A layer knows that has torch's `batch_first`: RNN, LSTM, GRU, MultiheadAttention and what is made of it. The
    sentence is "" where no such layer is reached, or its word is not clear. The model is called up to that layer, on
    tensors without data, with the batch in dimension 0 and in dimension 1; what stands between (an embedding, a
    transpose, a convolution) is thereby followed.
    """
    if not any(_batch_dim(layer) is not None for layer in module.modules()):
        return specs, ""
    for tried in dict.fromkeys((specs, _swapped(specs), (*_swapped(specs[:1]), *specs[1:]))):
        verdict, layer = _asked(module, tried, dtype)
        if verdict == "right":
            where = tried[0].batch_dim
            return tried, f"batch in dimension {where}, as {layer} takes it" if where or tried is not specs else ""
        if tried is specs and verdict == "unknown" and layer:
            break
    return specs, ""


def _batch_dim(layer: nn.Module) -> int | None:
    """The dimension of the batch in what `layer` takes, None for a layer that does not know."""
    if isinstance(layer, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        layer = layer.self_attn
    if isinstance(layer, nn.RNNBase | nn.MultiheadAttention | nn.Transformer):
        return 0 if layer.batch_first else 1
    return None


def _swapped(specs: Specs) -> Specs:
    """The batch in dimension 1 where it was in dimension 0, and the other way round."""
    return tuple(
        spec.with_batch_at(1 - spec.batch_dim) if spec.shape and spec.batch_dim in (0, 1) else spec for spec in specs
    )


def _asked(module: nn.Module, specs: Specs, dtype: torch.dtype) -> tuple[_Verdict, str]:
    """Whether the first layer that knows finds the batch where it takes it, and which layer that is, "" for none."""
    sizes = [size for spec in specs for size in spec.shape]
    batch = next((prime for prime in _PRIMES if all(size % prime for size in sizes)), _PRIMES[0])
    for fake in (False, True):
        try:
            reached = _reached(module, specs, batch, dtype, fake=fake)
        except (InputError, *FAILURES):
            continue
        if reached is None or len(reached.shape) != 3:
            return "unknown", reached.layer if reached else ""
        here, there = (reached.shape[i] % batch == 0 for i in (reached.batch_dim, 1 - reached.batch_dim))
        return "unknown" if here == there else "right" if here else "swapped", reached.layer
    return "unknown", ""


def _reached(module: nn.Module, specs: Specs, batch: int, dtype: torch.dtype, *, fake: bool) -> _Reached | None:
    args, kwargs = build_inputs(specs, batch, dtype)
    inputs = TraceInputs(args, kwargs, batch)
    with module_mode(module, training=False), _asking(module):
        try:
            with recording(module, inputs, None, dtype, fake=fake, ways=Ways() if fake else None) as (_, args, kwargs):
                module(*args, **kwargs)
        except _Reached as reached:
            return reached
    return None


@contextmanager
def _asking(module: nn.Module) -> Iterator[None]:
    """While active, calling a layer that knows raises `_Reached`."""
    hooks = []
    for path, layer in module.named_modules():
        batch_dim = _batch_dim(layer)
        if batch_dim is not None:
            name = f"{one_line(path, 80)} ({type(layer).__name__})" if path else type(layer).__name__

            def ask(_: nn.Module, args: Any, kwargs: Any, name: str = name, batch_dim: int = batch_dim) -> None:
                given = next((t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)), None)
                if given is not None:
                    raise _Reached(name, batch_dim, given.shape)

            hooks.append(layer.register_forward_pre_hook(ask, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
