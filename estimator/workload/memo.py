"""Ops seen before: their outputs are made again and their costs told again, without running or counting them.

On meta tensors, and on fake ones without constants, an op's output depends on nothing but its arguments' shapes,
strides, dtypes and plain values. PyTorch works it out in Python, for up to a millisecond; networks repeat their layers,
so that most calls were seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

Result = Literal["new", "first argument", "other"]
"""What an op returns: new tensors, its first argument written over, or anything else (a view, a resized argument)."""

_PLAIN = frozenset({Tensor, nn.Parameter})
_META, _CPU = torch.device("meta"), torch.device("cpu")


_HIDDEN_VIEWS = frozenset({"_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk"})
"""Ops that return a view and do not say so."""


def result_of(func: Any) -> Result:
    """What `func` (a `torch._ops.OpOverload`) returns, by its schema."""
    if func._overloadpacket.__name__ in _HIDDEN_VIEWS:
        return "other"
    returned = [r.alias_info for r in func._schema.returns]
    if returned and all(alias is None for alias in returned):
        return "new"
    first = func._schema.arguments[0].alias_info if func._schema.arguments else None
    if len(returned) != 1 or first is None or not first.is_write or torch.Tag.inplace_view in func.tags:
        return "other"
    return "first argument" if returned[0] is not None and returned[0].before_set == first.before_set else "other"


def call_key(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable | None:
    """Equal for calls with equal outputs and equal costs; None where the arguments do not tell.

    Which arguments are one and the same tensor is part of it: `x * x` reads half of what `x * y` reads.
    """
    described: list[Any] = [func]
    tensors: list[int] = []
    told = _describe(args, described, tensors)
    if told and kwargs:
        described += kwargs
        told = _describe(kwargs.values(), described, tensors)
    if not told:
        return None
    if len(set(tensors)) < len(tensors):
        described += map(tensors.index, tensors)
    return tuple(described)


def _describe(values: Iterable[Any], into: list[Any], tensors: list[int]) -> bool:
    for value in values:
        kind = type(value)
        if kind in _PLAIN or kind is FakeTensor:
            if not _shaped(value):
                return False
            into += value.shape, value.stride(), value.dtype, kind
            tensors.append(id(value))
        elif kind is list or kind is tuple:
            into += kind, len(value)
            if not _describe(value, into, tensors):
                return False
        elif isinstance(value, Tensor):
            return False  # a subclass has ways of its own
        else:
            into += kind, value  # the type too: 1 equals 1.0, and x + 1 may be of another dtype than x + 1.0
    return True


def _shaped(t: Tensor) -> bool:
    """Whether `t` has nothing but a shape: plain on meta, or fake on the CPU and no constant."""
    if t.layout is not torch.strided:
        return False
    if type(t) is FakeTensor:
        return t.constant is None and t.fake_device.type == "cpu"
    return type(t) in _PLAIN and t.is_meta


def _fake(mode: FakeTensorMode, make: Callable[[], Tensor]) -> Tensor:
    """What `make` makes on meta, as a fake tensor on the CPU."""
    with unset_fake_temporarily():
        return FakeTensor(mode, make(), _CPU)


def maker_of(output: Any) -> Callable[[], Any] | None:
    """A function that makes outputs like `output`; None where it is more than plain meta tensors and values."""
    if isinstance(output, Tensor):
        if not _shaped(output) or output._is_zerotensor():
            return None
        make = partial(torch.empty_strided, output.shape, output.stride(), dtype=output.dtype, device=_META)
        return partial(_fake, output.fake_mode, make) if isinstance(output, FakeTensor) else make
    if isinstance(output, (list, tuple)):
        kind, makers = type(output), [maker_of(part) for part in output]
        return None if None in makers else lambda: kind([make() for make in makers if make])
    return lambda: output
