"""Quantized layers of a pickle: what torch and the quantizing libraries write of their attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from estimator.sources.pickles.pickle_data import Global, Made
from estimator.sources.quantized_layers import plain_layer

if TYPE_CHECKING:
    import torch

_CONVOLUTION = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "transposed", "output_padding"),
    *("groups", "padding_mode", "weight", "bias"),
)
"""The order in which a quantized convolution of torch writes its attributes (`_ConvNd.__getstate__`)."""


def layer_of(record: Made, value: Callable[[Any], Any]) -> torch.nn.Module:
    """The plain layer for the quantized one that `record` describes; packed weights are not built."""
    state: Any = record.state
    if isinstance(state, tuple):
        state = dict(zip(_CONVOLUTION, state, strict=False))
    state = state if isinstance(state, dict) else {}
    packed = _inside(state, "_modules").get("_packed_params")
    inner = packed.state if isinstance(packed, Made) and isinstance(packed.state, dict) else {}
    kinds = (bool, int, float, str, tuple)
    settings = {name: value(item) for name, item in state.items() if isinstance(item, kinds)}
    dtype = inner.get("dtype")
    settings["weight_dtype"] = dtype.name if isinstance(dtype, Global) else None
    biases = (state.get("bias"), _inside(state, "_parameters").get("bias"), _inside(state, "_buffers").get("bias"))
    settings["has_bias"] = any(bias is not None for bias in (*biases, _packed_bias(inner.get("_packed_params"))))
    return plain_layer(record.maker.module, record.maker.name, settings)


def _inside(state: dict[str, Any], name: str) -> dict[str, Any]:
    found = state.get(name)
    return found if isinstance(found, dict) else {}


def _packed_bias(record: Any) -> Any:
    """The bias within `((weight, bias), class)`, what a packed weight is written as; None where there is none."""
    match record.state if isinstance(record, Made) else None:
        case ((_, bias), *_):
            return bias
    return None
