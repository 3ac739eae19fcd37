"""Modules that only hold another one: for several devices, compiled, or averaged over the training (EMA).

What they add runs no other operations, so a model is priced without them, in whatever order they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from estimator.base.errors import ModelFileError

HELD: Mapping[str, str] = {
    "apex.parallel.distributed.DistributedDataParallel": "module",
    "deepspeed.runtime.engine.DeepSpeedEngine": "module",
    "deepspeed.runtime.pipe.engine.PipelineEngine": "module",
    "ema_pytorch.ema_pytorch.EMA": "ema_model",
    "lightning.fabric.wrappers._FabricModule": "_original_module",
    "lightning_fabric.wrappers._FabricModule": "_original_module",
    "mmcv.parallel.data_parallel.MMDataParallel": "module",
    "mmcv.parallel.distributed.MMDistributedDataParallel": "module",
    "mmengine.model.averaged_model.ExponentialMovingAverage": "module",
    "mmengine.model.wrappers.distributed.MMDistributedDataParallel": "module",
    "timm.utils.model_ema.ModelEma": "ema",
    "timm.utils.model_ema.ModelEmaV2": "module",
    "timm.utils.model_ema.ModelEmaV3": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": "_fsdp_wrapped_module",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
    "ultralytics.utils.torch_utils.ModelEMA": "ema",
    "utils.torch_utils.ModelEMA": "ema",  # YOLOv5's and YOLOv7's own
}
"""The attribute of each wrapper, by the full name of its class, that is the module in it."""

FLAT = "_flat_param"
FLAT_MESSAGE = (
    "the model is wrapped in FullyShardedDataParallel, which keeps its weights in one flat tensor without the layers' "
    "shapes: save or return the model as it was before it was wrapped, or wrap it with use_orig_params=True"
)

_T = TypeVar("_T")


def unwrapped(value: _T, held_by: Callable[[_T], _T | None]) -> _T:
    """What is left of `value` when every wrapper around it is opened; `held_by` opens one, None for what is none."""
    seen: set[int] = set()
    while (held := held_by(value)) is not None:
        if id(value) in seen:
            raise ModelFileError("a wrapper of the file contains itself: save the model without it")
        seen.add(id(value))
        value = held
    return value


def opened(value: Any) -> Any:
    """`value`, a live object, without the wrappers around it; modules inside it are left as they are."""
    return unwrapped(value, _held_by)


def opened_throughout(module: Any) -> Any:
    """`module` without the wrappers around it and around its parts, which are replaced in it."""
    import torch

    module = opened(module)
    if isinstance(module, torch.nn.Module):
        for part in list(module.modules()):
            for name, child in part._modules.items():
                part._modules[name] = opened(child)
    return module


def _held_by(value: Any) -> Any:
    """The module that a live wrapper holds; None for all else."""
    import torch

    for cls in type(value).__mro__:
        name = HELD.get(f"{cls.__module__}.{cls.__qualname__}")
        held = getattr(value, name, None) if name else None
        if isinstance(held, torch.nn.Module):
            if FLAT in held._parameters:
                raise ModelFileError(FLAT_MESSAGE)
            return held
    return None
