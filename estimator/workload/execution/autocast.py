"""Trace as under `torch.autocast`, on tensors of any device: each op in the dtype that torch's lists name for it.

torch's own kernels cast tensors of the device whose lists they are, and no others. So kernels that do the same to any
tensor are registered under the key of a device that PyTorch no longer serves (Graphcore's), where they are asleep until
`autocasting` wakes them. That key stands above autograd, as every autocast key does: casts have gradients, an op that
calls others is cast once, and what `torch.utils.checkpoint` runs again is cast again.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from estimator.workload import fused  # noqa: F401  declares joulecast::rnn
from estimator.workload.execution.autocast_lists import Cast, autocast_lists
from estimator.workload.execution.settings import Autocast

_KEY = torch._C.DispatchKey.AutocastIPU  # type: ignore[attr-defined]
_OURS = torch._C.DispatchKeySet(_KEY)
_BOTH = _OURS | torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
"""With the CPU's own key, which is below ours: it would cast fake tensors of the CPU by the CPU's lists."""
_SWITCH = "cpu"
"""The device whose state says whether autocast is on: that one `torch.utils.checkpoint` always keeps and restores."""

_STAND_INS = (
    torch.ops.aten._scaled_dot_product_fused_attention_overrideable.default,
    torch.ops.joulecast.rnn.default,
)
"""What is traced in place of attention and of recurrent layers, which are cast to the lower dtype (the latter by
ATen/cudnn/AutocastRNN.cpp, and by the CPU's list)."""


class _InForce(threading.local):
    """Of this thread: the lists, and the casts of parameters, made once as long as autocast lasts."""

    def __init__(self) -> None:
        self.casts: Mapping[Any, Cast] = {}
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}


_IN_FORCE = _InForce()


def _eligible(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dtype is not torch.float64


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """`value` with its floating tensors in `dtype` (ATen's `cached_cast`)."""
    if isinstance(value, (list, tuple)):
        return type(value)([_cast(part, dtype) for part in value])
    if not _eligible(value) or value.dtype is dtype:
        return value
    parameter = value.dtype is torch.float32 and value.requires_grad and value.is_leaf and not value._is_view()
    if not parameter or dtype is torch.float32 or not torch.is_autocast_cache_enabled():
        return value.to(dtype)
    if id(value) not in _IN_FORCE.kept:
        _IN_FORCE.kept[id(value)] = value, value.to(dtype)
    return _IN_FORCE.kept[id(value)][1]


def _any_float32(values: Any) -> bool:
    return any(
        _any_float32(v) if isinstance(v, (list, tuple)) else isinstance(v, Tensor) and v.dtype is torch.float32
        for v in values
    )


def _asking_for_float32(op: Any, cast: Cast, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of `op` whose result is to be float32, where its first tensor is cast at all and no dtype is asked for."""
    schema = op._schema.arguments
    if cast.rule == "with float32":
        whole = [*args, *(a.default_value for a in schema[len(args) :] if not a.kwarg_only)]
        return cast.instead(*whole, dtype=torch.float32 if _eligible(args[0]) else args[0].dtype)
    at = [a.name for a in schema].index("dtype")
    asked = args[at] if at < len(args) else kwargs.get("dtype")
    if asked is not None or not _eligible(args[0]):
        return op(*args, **kwargs)
    return op(*args[:at], **kwargs | {"dtype": torch.float32})


def _called(op: Any, *args: Any, **kwargs: Any) -> Any:
    """A call of `op` as autocast makes it; ops inside of it are left alone."""
    cast = _IN_FORCE.casts.get(op) if torch.is_autocast_enabled(_SWITCH) else None
    with torch._C._ExcludeDispatchKeyGuard(_BOTH):
        if cast is None:
            return op(*args, **kwargs)
        if cast.rule == "refused":
            raise RuntimeError(cast.sentence)
        if cast.rule in ("told float32", "with float32"):
            return _asking_for_float32(op, cast, args, kwargs)
        lower = torch.get_autocast_dtype(_SWITCH)
        wide = cast.rule == "float32" or (cast.rule == "widest" and _any_float32((*args, *kwargs.values())))
        to = torch.float32 if wide else lower
        return op(*_cast(args, to), **{name: _cast(value, to) for name, value in kwargs.items()})


@functools.cache
def _kernels() -> tuple[torch.library.Library, ...]:
    """Registers `_called` for every op of any list; what is returned keeps it registered."""
    ops = dict.fromkeys((*autocast_lists("cuda"), *autocast_lists("cpu"), *_STAND_INS))
    libraries = {space: torch.library.Library(space, "IMPL") for space in {op.namespace for op in ops}}  # type: ignore[no-untyped-call]
    for op in ops:
        libraries[op.namespace].impl(op, partial(_called, op), "AutocastIPU")  # type: ignore[no-untyped-call]
    rest = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
    rest.fallback(torch.library.fallthrough_kernel, "AutocastIPU")  # type: ignore[no-untyped-call]
    return rest, *libraries.values()


def _on_the_switch(ask: Any) -> Any:
    """A function of torch that asks about autocast on a device, asked about the switch instead."""
    return lambda device_type=_SWITCH: ask(_SWITCH)


@contextlib.contextmanager
def _any_device_meant() -> Iterator[None]:
    """While active, a model's own code that turns autocast on or off, or asks about it, means the switch.

    Whatever device it names: its tensors are on none that has autocast.
    """
    start, asked = torch.autocast.__init__, ("is_autocast_enabled", "get_autocast_dtype")
    before = {name: vars(torch)[name] for name in asked}

    def turn(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        start(self, _SWITCH, *args, **kwargs)

    torch.autocast.__init__ = turn  # type: ignore[method-assign]
    vars(torch).update({name: _on_the_switch(ask) for name, ask in before.items()})
    try:
        yield
    finally:
        torch.autocast.__init__ = start  # type: ignore[method-assign]
        vars(torch).update(before)


@contextlib.contextmanager
def ready_to_autocast(autocast: Autocast | None) -> Iterator[None]:
    """While active, `autocasting` and a model's own `torch.autocast` have an effect; None: they have none.

    It stands around a backward pass too, in which `torch.utils.checkpoint` runs a part of the forward pass again.
    """
    if autocast is None:
        yield
        return
    _kernels()
    _IN_FORCE.casts = {**autocast_lists(autocast.lists), **dict.fromkeys(_STAND_INS, Cast("lower"))}
    try:
        torch.set_autocast_enabled("ipu", True)  # no autocast key is looked at by default
        with torch._C._IncludeDispatchKeyGuard(_KEY), _any_device_meant():
            yield
    finally:
        torch.set_autocast_enabled("ipu", False)
        _IN_FORCE.casts = {}


@contextlib.contextmanager
def autocasting(autocast: Autocast | None) -> Iterator[None]:
    """The forward pass and the loss, as in `with torch.autocast(...)`; parameters' casts are kept until its end."""
    if autocast is None:
        yield
        return
    with torch.autocast(_SWITCH, getattr(torch, autocast.dtype)):
        try:
            yield
        finally:
            _IN_FORCE.kept.clear()
