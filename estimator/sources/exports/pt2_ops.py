"""The ops that an exported program may use: torch's own tensor ops, looked up by name, and shape arithmetic."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.exports import pt2_bounds
from estimator.sources.loaded import NAME_THE_CODE

_TENSOR_OP = re.compile(r"torch\.ops\.(aten|prims|torchvision)\.(\w+)\.(\w+)")
_FORBIDDEN = re.compile(
    r"from_file|_print|_test_\w*|_debug\w*|_cuda\w*|_cudnn\w*|_use_cudnn\w*|\w*async_error|record_stream"
)
_ASSERTION = re.compile(
    r"torch\.ops\.aten\.(_assert_\w+|sym_constrain_range\w*|_functional_assert\w*|_functional_sym_constrain\w*)\.\w+"
)
_SHAPE_ARITHMETIC: dict[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in (
            *("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pos"),
            *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_"),
        )
    },
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch.sym_int": int,
    "torch.sym_float": float,
}
_REGIONS = frozenset(
    f"torch.ops.higher_order.{name}" for name in ("wrap_with_set_grad_enabled", "wrap_with_autocast", "strict_mode")
)


def is_assertion(target: str) -> bool:
    """Whether the node only checks values, which meta tensors do not have."""
    return _ASSERTION.fullmatch(target) is not None


def is_region(target: str) -> bool:
    """Whether the node carries out a subgraph under another mode."""
    return target in _REGIONS


def check_target(target: Any) -> None:
    """Refuse an op that is not on the list; called for every node before the first one is carried out."""
    if not isinstance(target, str):
        raise ModelFileError(f"the .pt2 file has a node without an op: {NAME_THE_CODE}")
    if not (is_assertion(target) or is_region(target)):
        function_of(target)


def function_of(target: str) -> Callable[..., Any]:
    """The op called `target`, which the dispatcher must know: TorchScript's own ops can write files."""
    if target in _SHAPE_ARITHMETIC:
        return _numbers_only(_SHAPE_ARITHMETIC[target])
    if target == "_operator.getitem":
        return _item
    found = _TENSOR_OP.fullmatch(target)
    if found is not None and not _FORBIDDEN.fullmatch(found[2]):
        name = f"{found[1]}::{found[2]}" + ("" if found[3] == "default" else f".{found[3]}")
        packet = getattr(getattr(torch.ops, found[1]), found[2], None)
        overload = getattr(packet, found[3], None)
        if isinstance(overload, torch._ops.OpOverload) and _in_dispatcher(name):
            return overload
    raise ModelFileError(
        f"the .pt2 file calls {one_line(target, 80)}, which is no op of torch that a model needs: {NAME_THE_CODE}"
    )


def _in_dispatcher(name: str) -> bool:
    try:
        return torch._C._dispatch_has_kernel(name)
    except RuntimeError:  # the dispatcher does not know it: an op of the TorchScript interpreter
        return False


def _numbers_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, refusing what is no number (text or a list times a number could fill the memory)."""

    def checked(*args: Any) -> Any:
        if not all(isinstance(arg, (int, float)) and abs(arg) < 2**62 for arg in args):
            raise ModelFileError(f"the .pt2 file computes a shape from what is no number: {NAME_THE_CODE}")
        return function(*args)

    return checked


def _item(values: Any, index: Any) -> Any:
    """One of several results of an op."""
    if not isinstance(values, (list, tuple)) or not isinstance(index, int):
        raise ModelFileError(f"the .pt2 file takes an item of what has none: {NAME_THE_CODE}")
    return values[index]


def call(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], *, results: int, device: torch.device
) -> Any:
    """Carry out one op on `device`; `results` is how many the file lists, so that none makes millions."""
    if not isinstance(function, torch._ops.OpOverload):
        return function(*args, **kwargs)
    names = [argument.name for argument in function._schema.arguments]
    if "device" in names:
        where = names.index("device")
        if where < len(args):
            args[where] = device
        else:
            kwargs["device"] = device
    elif not any(isinstance(arg, (torch.Tensor, list)) for arg in [*args, *kwargs.values()]):
        raise ModelFileError(f"the .pt2 file calls {function} without a tensor: {NAME_THE_CODE}")
    pt2_bounds.check(function, args, kwargs, results)
    return function(*args, **kwargs)
