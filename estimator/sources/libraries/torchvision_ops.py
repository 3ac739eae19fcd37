"""Lets torchvision be imported where its compiled extension does not match torch: shapes need no kernels."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import sys
from functools import cache
from typing import Any

_SIZE = "SymInt pooled_height, SymInt pooled_width"
_IMAGE = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
_DEFORM = (
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, "
    "SymInt groups, SymInt offset_groups, bool use_mask"
)
_ROIS = "Tensor input, Tensor rois, float spatial_scale"
_GRAD = "Tensor grad, Tensor rois"

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    f"roi_align({_ROIS}, {_SIZE}, int sampling_ratio, bool aligned) -> Tensor",
    f"_roi_align_backward({_GRAD}, float spatial_scale, {_SIZE}, {_IMAGE}, int sampling_ratio, bool aligned) -> Tensor",
    f"roi_pool({_ROIS}, {_SIZE}) -> (Tensor, Tensor)",
    f"_roi_pool_backward({_GRAD}, Tensor argmax, float spatial_scale, {_SIZE}, {_IMAGE}) -> Tensor",
    f"ps_roi_align({_ROIS}, {_SIZE}, int sampling_ratio) -> (Tensor, Tensor)",
    f"_ps_roi_align_backward({_GRAD}, Tensor channel_mapping, float spatial_scale, {_SIZE}, int sampling_ratio, "
    f"{_IMAGE}) -> Tensor",
    f"ps_roi_pool({_ROIS}, {_SIZE}) -> (Tensor, Tensor)",
    f"_ps_roi_pool_backward({_GRAD}, Tensor channel_mapping, float spatial_scale, {_SIZE}, {_IMAGE}) -> Tensor",
    f"deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, {_DEFORM}) -> Tensor",
    "_deform_conv2d_backward(Tensor grad, Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
    f"{_DEFORM}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
"""What torchvision's extension declares to torch: names and signatures, no kernels."""


@cache
def allow_torchvision_without_its_extension() -> None:
    """Declare torchvision's ops before its first import, where its compiled extension cannot.

    A torchvision built for another torch (a CUDA wheel beside a CPU torch) fails at import, because its Python
    part registers shapes for ops that its extension did not declare. Nothing happens where torchvision is
    missing or sound, so that timm without torchvision still works.
    """
    if "torchvision" in sys.modules:
        return
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return
    import torch

    extension = importlib.machinery.PathFinder.find_spec("_C", list(found.submodule_search_locations))
    if extension is not None and extension.origin:
        with contextlib.suppress(OSError, RuntimeError):  # it was built for another torch, or needs a missing driver
            torch.ops.load_library(extension.origin)  # type: ignore[no-untyped-call]
    if not hasattr(torch.ops.torchvision, "nms"):
        _declare()


def _declare() -> None:
    """Declare the ops for as long as this process lives; kernels stay missing, so only shapes can be computed."""
    import torch

    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    library.impl("deform_conv2d", _deformed_shape, "Meta")  # type: ignore[no-untyped-call]
    library.impl("_deform_conv2d_backward", _deformed_gradients, "Meta")  # type: ignore[no-untyped-call]
    torch.library.register_autograd(
        "torchvision::deform_conv2d", _deformed_backward, setup_context=_keep_inputs, lib=library
    )
    _DECLARED.append(library)


def _deformed_shape(x: Any, weight: Any, offset: Any, *others: Any) -> Any:
    """The shape of a deformable convolution's result: a position an offset."""
    return x.new_empty(x.shape[0], weight.shape[0], *offset.shape[-2:])


def _deformed_gradients(grad: Any, *inputs: Any) -> Any:
    """A gradient for each of input, weight, offset, mask and bias."""
    return tuple([t.new_empty(t.shape) for t in inputs[:5]])


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.set_as = inputs[5:]


def _deformed_backward(ctx: Any, grad: Any) -> Any:
    import torch

    gradients = torch.ops.torchvision._deform_conv2d_backward(grad, *ctx.saved_tensors, *ctx.set_as)
    return (*gradients, *[None] * len(ctx.set_as))


_DECLARED: list[object] = []
