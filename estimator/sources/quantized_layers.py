"""Layers whose weights a library has packed, made plain layers again: same products, weights marked as stored.

They are known by their class's name and their attributes, so that the libraries need not be installed. Quantized
layers of torch compute on integers and run on no meta tensor; the others need kernels of their libraries.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.stored import Stored, mark

Settings = Mapping[str, Any]
"""The attributes of a layer; `has_bias`, and of torch's linear layers `weight_dtype`, are added."""

_OF_TORCH = ("torch.ao.nn.quantized.", "torch.ao.nn.intrinsic.quantized.")
_INT8 = Stored("int8", 8, 32)
"""FBGEMM keeps the int32 sum of an output's weights beside them (`col_offsets`)."""
_NF4 = Stored("nf4 or fp4", 4, 8 + 32 / 256, 64)
"""bitsandbytes' default: scales of 64 numbers in 8 bits, and a float32 for 256 of them."""


def _linear(settings: Settings, stored: Stored) -> nn.Module:
    inputs = settings.get("in_features", settings.get("infeatures"))
    outputs = settings.get("out_features", settings.get("outfeatures"))
    return _marked(nn.Linear(inputs, outputs, settings["has_bias"], device="meta"), stored)


def _of_torch(settings: Settings) -> nn.Module:
    wide = str(settings.get("weight_dtype")).endswith("float16")
    return _linear(settings, Stored("float16", 16, 0) if wide else _INT8)


def _convolution(settings: Settings) -> nn.Module:
    kind = ("ConvTranspose" if settings["transposed"] else "Conv") + f"{len(settings['kernel_size'])}d"
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    chosen = {name: settings[name] for name in names}
    if settings["transposed"]:
        chosen["output_padding"] = settings["output_padding"]
    return _marked(getattr(nn, kind)(**chosen, bias=settings["has_bias"], device="meta"), _INT8)


def _packed(settings: Settings) -> nn.Module:
    """GPTQ and AWQ: a float16 scale and a zero point a group."""
    bits, group = settings.get("bits", settings.get("w_bit")), settings["group_size"]
    if bits not in (2, 3, 4, 8) or not isinstance(group, int):
        raise ModelFileError(_unpriced("QuantLinear"))
    return _linear(settings, Stored(f"int{bits}", bits, 16 + bits, max(0, group)))


def _marked(layer: nn.Module, stored: Stored) -> nn.Module:
    mark(layer, stored)
    return layer.requires_grad_(False)


_MAKERS: dict[str, Callable[[Settings], nn.Module]] = {
    "Linear": _of_torch,
    "LinearReLU": lambda settings: nn.Sequential(_of_torch(settings), nn.ReLU()),
    **{f"Conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": _convolution for n in (1, 2, 3)},
    **{f"ConvReLU{n}d": lambda settings: nn.Sequential(_convolution(settings), nn.ReLU()) for n in (1, 2, 3)},
    "Quantize": lambda settings: nn.Identity(),
    "DeQuantize": lambda settings: nn.Identity(),
    "QFunctional": lambda settings: torch.ao.nn.quantized.FloatFunctional(),
    "ReLU6": lambda settings: nn.ReLU6(),
}
"""Of torch's quantized layers, by the names of their classes."""

_OTHERS: dict[str, Callable[[Settings], nn.Module]] = {
    "Linear8bitLt": lambda settings: _linear(settings, Stored("int8", 8, 32)),
    "Linear4bit": lambda settings: _linear(settings, _NF4),
    **dict.fromkeys(("WQLinear_GEMM", "WQLinear_GEMV", "QuantLinear"), _packed),
}
"""Of bitsandbytes, AutoAWQ and GPTQ."""

_LIBRARIES = frozenset({"bitsandbytes", "awq", "auto_gptq", "gptqmodel"})
_AS_THEY_ARE = frozenset({"FloatFunctional", "FXFloatFunctional", "Dropout", "LinearPackedParams"})


def is_quantized(module: str, name: str) -> bool:
    """Whether the class `name`, defined in `module`, is one of quantized layers that run on no meta tensor."""
    if module.startswith(_OF_TORCH):
        return name not in _AS_THEY_ARE
    return name in _OTHERS and module.partition(".")[0] in _LIBRARIES


def plain_layer(module: str, name: str, settings: Settings) -> nn.Module:
    """The plain layer for a quantized one (`is_quantized`); `ModelFileError` for one that is not priced."""
    maker = (_MAKERS if module.startswith(_OF_TORCH) else _OTHERS).get(name)
    if maker is None:
        raise ModelFileError(_unpriced(name))
    try:
        return maker(settings)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelFileError(_unpriced(name)) from error


def _unpriced(name: str) -> str:
    return (
        f"the quantized layer {one_line(name, 40)} is not priced: give the model as it was before it was quantized, "
        "whose products are the same"
    )


def with_plain_layers(model: nn.Module) -> nn.Module:
    """`model` itself where no layer is quantized, else a copy of the same tensors with plain layers in their places."""
    found = {
        id(layer): plain_layer(type(layer).__module__, type(layer).__name__, _settings_of(layer))
        for layer in model.modules()
        if is_quantized(type(layer).__module__, type(layer).__name__)
    }
    if not found:
        return model
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    plain: nn.Module = copy.deepcopy(model, {**found, **tensors})
    return plain


def _settings_of(layer: nn.Module) -> Settings:
    """The attributes of a live layer. torch's give their bias by a method, for it is packed with the weight."""
    bias = getattr(layer, "bias", None)
    packed = layer._modules.get("_packed_params")
    settings = {**vars(layer), "weight_dtype": getattr(packed, "dtype", None)}
    return {**settings, "has_bias": (bias() if callable(bias) else bias) is not None}
