"""Code that names a device, traced where that device is not: `.cuda()`, `.to("cuda")`, `torch.zeros(3, device="cuda")`.

While `Placed` is active, every such call is answered on the stand-ins' own device: a move is no op and costs no FLOP.
The CPU is left as it is named: `lengths.cpu()` reads values.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_HERE = frozenset({"cpu", "meta"})
_MOVES = frozenset({Tensor.cuda, Tensor.xpu, Tensor.pin_memory})
_TYPES = {
    "FloatTensor": torch.float32,
    "DoubleTensor": torch.float64,
    "HalfTensor": torch.float16,
    "BFloat16Tensor": torch.bfloat16,
    "ByteTensor": torch.uint8,
    "CharTensor": torch.int8,
    "ShortTensor": torch.int16,
    "IntTensor": torch.int32,
    "LongTensor": torch.int64,
    "BoolTensor": torch.bool,
}


def _elsewhere(device: Any) -> bool:
    """Whether `device`, as code names one (an object, a string, a GPU's number), is an accelerator's."""
    if isinstance(device, str):
        return device.partition(":")[0] not in _HERE
    if isinstance(device, torch.device):
        return device.type not in _HERE
    return isinstance(device, int) and not isinstance(device, bool)


class Placed(TorchFunctionMode):
    """While active, calls that name an accelerator run on `device` instead."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = torch.device(device)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _MOVES:
            return args[0].to(self._device)
        if func is Tensor.type and (kind := _type_named(*args[1:], **kwargs)):
            return args[0].to(self._device, kind)
        if func is Tensor.to and len(args) > 1 and _elsewhere(args[1]):
            args = (args[0], self._device, *args[2:])
        elif any(type(value) is torch.device for value in args):
            args = tuple([self._device if type(a) is torch.device and _elsewhere(a) else a for a in args])
        if kwargs.get("device") is not None and _elsewhere(kwargs["device"]):
            kwargs = kwargs | {"device": self._device}
        if kwargs.get("pin_memory"):
            kwargs = kwargs | {"pin_memory": False}
        return func(*args, **kwargs)


def _type_named(dtype: Any = None, *rest: Any, **others: Any) -> torch.dtype | None:
    """The dtype in `t.type("torch.cuda.FloatTensor")`, or with that type itself; None for other calls."""
    named = dtype if isinstance(dtype, str) else getattr(dtype, "named", "")
    return _TYPES.get(named.removeprefix("torch.cuda.")) if named.startswith("torch.cuda.") else None


def _legacy(name: str, dtype: torch.dtype, device: str) -> type:
    """A stand-in for `torch.cuda.FloatTensor` and the like, called with sizes or with elements."""

    class Legacy:
        named = f"torch.cuda.{name}"

        def __new__(cls, *given: Any) -> Any:
            if len(given) == 1 and isinstance(given[0], (list, tuple)) and not isinstance(given[0], torch.Size):
                return torch.tensor(given[0], dtype=dtype, device=device)
            return torch.empty(*given or (0,), dtype=dtype, device=device)

    return Legacy


@functools.cache
def _stand_ins(device: str) -> dict[str, Any]:
    """What stands for names of `torch.cuda` that need a GPU, where this torch has them."""
    made: dict[str, Any] = {name: _legacy(name, dtype, device) for name, dtype in _TYPES.items()}
    made |= {"synchronize": lambda *_: None, "current_device": lambda: 0}
    return {name: value for name, value in made.items() if name in vars(torch.cuda)}


@contextlib.contextmanager
def placed(device: str) -> Iterator[None]:
    """While active, code that names a GPU runs on `device` ("meta" or "cpu"): calls, types, and what waits for one."""
    stand_ins = _stand_ins(device)
    before = {name: vars(torch.cuda)[name] for name in stand_ins}
    vars(torch.cuda).update(stand_ins)
    try:
        with Placed(device):
            yield
    finally:
        vars(torch.cuda).update(before)
