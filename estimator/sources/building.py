"""Building a model from code on the meta device, offline and without filling the memory."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from estimator.base import budget
from estimator.base.errors import FOREIGN_ERRORS, JoulecastError, ModelFileError
from estimator.base.words import told
from estimator.sources.inputs import lazy_layers
from estimator.sources.quantized_layers import with_plain_layers

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")

Built = TypeVar("Built")


class _CountedTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Charges the bytes of tensors that are created elsewhere than on meta, before they are created."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if "device" in {argument.name for argument in func._schema.arguments} and not _goes_to_meta(args, kwargs):
            shapes = None
            with contextlib.suppress(NotImplementedError):  # a quantized tensor: the larger one before it was counted
                shapes = func(*args, **{**kwargs, "device": "meta"})
            budget.made("memory", shapes.nbytes if isinstance(shapes, torch.Tensor) else 0)
        return func(*args, **kwargs)


def _goes_to_meta(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether an op creates its result on the meta device, where it takes no memory."""
    device = kwargs.get("device")
    if device is not None:
        return torch.device(device).type == "meta"
    return any(isinstance(arg, torch.Tensor) and arg.is_meta for arg in args)


@contextlib.contextmanager
def offline_and_quiet() -> Iterator[None]:
    """No library goes to the network or writes to the terminal inside."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    hub = sys.modules.get("huggingface_hub.constants")
    hub_before = getattr(hub, "HF_HUB_OFFLINE", False)
    os.environ.update(dict.fromkeys(_OFFLINE, "1"))
    if hub is not None:
        hub.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        if hub is not None:
            hub.HF_HUB_OFFLINE = hub_before  # type: ignore[attr-defined]
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Layers, parameters and tensors on the CPU that are made inside are charged to the budget of the model."""

    def layer(module: torch.nn.Module, name: str, part: torch.nn.Module | None) -> None:
        budget.made("layers")

    def parameter(module: torch.nn.Module, name: str, value: torch.nn.Parameter | None) -> None:
        budget.made("parameters", 0 if value is None or is_lazy(value) else value.numel())

    hooks = register_module_module_registration_hook(layer), register_module_parameter_registration_hook(parameter)
    try:
        with budget.spending(), _CountedTensors():  # type: ignore[no-untyped-call]
            yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def foreign_code(say: Callable[[str], str]) -> Iterator[None]:
    """The one place where a library builds what a file asks for: whatever it raises becomes the sentence of `say`.

    Libraries have errors of their own (a validation of settings, of fields, of versions) that no list can know, and may
    exit. Our own faults, outside of it, stay tracebacks.
    """
    try:
        with offline_and_quiet():
            yield
    except JoulecastError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelFileError(say(told(error))) from error


def on_meta(make: Callable[[], Built]) -> Built:
    """What `make` returns under `torch.device("meta")`; made on the CPU where it needs the values of tensors."""
    try:
        with torch.device("meta"), counted():
            return make()
    except FOREIGN_ERRORS as error:
        if not isinstance(error, NotImplementedError) and "meta" not in str(error).lower():
            raise
    with torch.device("cpu"), counted():
        return make()


def to_meta(module: torch.nn.Module) -> torch.nn.Module:
    """`module` with all parameters and buffers on the meta device, quantized layers plain; tied weights stay tied."""
    if unknown := lazy_layers(module):
        raise ModelFileError(unknown)
    module = with_plain_layers(module)
    moved: dict[int, torch.Tensor] = {}
    kept: list[torch.Tensor] = []  # so that no id is used twice
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None and parameter.device.type != "meta":
                if id(parameter) not in moved:
                    kept.append(parameter)
                    empty = torch.empty_like(parameter, device="meta")
                    moved[id(parameter)] = torch.nn.Parameter(empty, parameter.requires_grad)
                setattr(part, name, moved[id(parameter)])
        for name, buffer in list(part._buffers.items()):
            if buffer is not None and buffer.device.type != "meta":
                part._buffers[name] = torch.empty_like(buffer, device="meta")
    return module
