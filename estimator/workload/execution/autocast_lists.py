"""Which op runs in which dtype under autocast: torch's own lists, asked of torch itself.

torch keeps the lists in C++, as kernels of a dispatch key. Each of them is called once with tensors without data of a
dtype that no run has (bfloat16, while autocast casts to float16): what it does first, before any shape is looked at,
is its rule. So the lists are those of the torch that is installed, for a GPU too where there is none.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from estimator.workload.execution.settings import Lists

Rule = Literal["lower", "float32", "widest", "told float32", "with float32", "refused"]
"""What autocast does with the floating tensors of a call, but for float64, which it leaves alone.

"lower": casts them to its dtype. "float32": casts them to float32. "widest": to float32 where one is float32. "told
float32": asks for a float32 result by the argument `dtype`, where none was asked for. "with float32": the same, by
another overload. "refused": raises, since the op is unsafe in the lower dtype.
"""

_KEYS: Mapping[Lists, str] = {"cuda": "AutocastCUDA", "cpu": "AutocastCPU"}
_LOWER, _GIVEN = torch.float16, torch.bfloat16
_PLAIN: Mapping[str, Any] = {"float": 1.0, "bool": False, "str": ""}
"""What arguments that are no tensors are given; all others 1."""


@dataclass(frozen=True)
class Cast:
    """The rule of an op; `sentence` is what torch says where it refuses, `instead` the overload that is called."""

    rule: Rule
    sentence: str = ""
    instead: Any = None


class _Seen(Exception):
    """The first op that a call came to, and the dtype that it asks for."""

    def __init__(self, func: Any, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.func, self.dtype = func, dtype


class _Probe(Tensor):
    """A tensor of a device that need not be there; the first op that reaches it is raised as `_Seen`."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, device: str) -> _Probe:
        return Tensor._make_wrapper_subclass(cls, (2,), dtype=_GIVEN, device=torch.device(device))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        given = (kwargs or {}).get("dtype") or next((a for a in args if isinstance(a, torch.dtype)), None)
        raise _Seen(func, given)


def _argument(kind: str, device: str) -> Any:
    """Something that may be given for an argument of a type of torch's schemas."""
    inner = kind.removeprefix("Optional[").removesuffix("]") if kind.startswith("Optional[") else kind
    if "Tensor" in inner:
        return [_Probe(device), _Probe(device)] if inner.startswith("List[") else _Probe(device)
    if kind.startswith("Optional["):
        return None
    if inner.startswith("List["):
        return [_PLAIN.get(inner[5:-1], 1)]
    return _PLAIN.get(inner, 1)


def _cast_of(op: Any, device: Lists) -> Cast | None:
    """What autocast does at a call of `op` (a `torch._ops.OpOverload`); None where nothing that is known."""
    schema = op._schema.arguments
    args = [_argument(str(a.type), device) for a in schema if not a.kwarg_only]
    kwargs = {a.name: _argument(str(a.type), device) for a in schema if a.kwarg_only}
    told = any(a.name == "dtype" for a in schema)
    try:
        op(*args, **kwargs)
    except _Seen as seen:
        if seen.func is torch.ops.aten._to_copy.default:
            return Cast("lower" if seen.dtype is _LOWER else "float32")
        if seen.func is not op and seen.dtype is torch.float32 and not told:
            return Cast("with float32", instead=seen.func)
    except RuntimeError as error:
        sentence = str(error).partition("\n")[0]
        if "unsafe to autocast" in sentence:
            return Cast("refused", sentence)
        if "floating ScalarType" in sentence:  # where dtypes are weighed, one that is neither is not expected
            return Cast("widest")
    return Cast("told float32") if told else None


@functools.cache
def autocast_lists(device: Lists) -> Mapping[Any, Cast]:
    """The ops (`torch._ops.OpOverload`) on torch's lists for `device`, and what is done at a call of each."""
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    names = torch._C._dispatch_get_registrations_for_dispatch_key(_KEYS[device])
    found = {}
    try:
        torch.set_autocast_enabled(device, True)
        torch.set_autocast_dtype(device, _LOWER)
        for name in names:
            space, _, rest = name.partition("::")
            packet, _, overload = rest.partition(".")
            op = getattr(getattr(getattr(torch.ops, space), packet, None), overload or "default", None)
            cast = None if op is None else _cast_of(op, device)
            if cast is not None:
                found[op] = cast
    finally:
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])
    return found
