"""How much one op of an exported program may make: pieces and steps, told by the op's schema before it is carried out.

An op that gives a list of tensors makes them all at once, and one that runs over a sequence takes its steps inside;
neither can be stopped midway. What an op is called does not matter: `unbind`, `unbind_copy` and `hsplit` have one form.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from estimator.base import budget
from estimator.base.errors import ModelFileError
from estimator.sources.loaded import NAME_THE_CODE

OPS_A_STEP = 12
"""Ops of one step of a recurrent layer, about: two products, their sum, and the gates."""


def check(function: torch._ops.OpOverload, args: list[Any], kwargs: dict[str, Any], results: int) -> None:
    """Refuse a call for more tensors than the program lists as its `results`, or over too long a sequence.

    Raises `ModelFileError`, and `OverBudget` where only the budget bounds it.
    """
    schema = function._schema
    given = {argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()}
    given |= dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | kwargs
    first = given.get(schema.arguments[0].name) if schema.arguments else None
    if any(str(returned.type) == "List[Tensor]" for returned in schema.returns):
        told = _told_pieces(first, {name: v for name, v in given.items() if v is not first})
        if told is not None and told > max(results, 1):
            raise ModelFileError(f"the .pt2 file calls {function} for more results than it lists: {NAME_THE_CODE}")
        if told is None:
            budget.check("ops", _largest(given))
    if "num_layers" in given:
        budget.check("ops", OPS_A_STEP * _steps(first, given))


def _told_pieces(tensor: Any, how: dict[str, Any]) -> int | None:
    """Into how many tensors an op cuts its first argument, as its other arguments tell; None where they do not."""
    if not isinstance(tensor, torch.Tensor):
        return None
    extent = _extent(tensor, how.get("dim"))
    if set(how) == {"dim"}:  # unbind
        return extent
    numbers = {name: value for name, value in how.items() if name != "dim"}
    if len(numbers) != 1:
        return None
    name, value = next(iter(numbers.items()))
    if isinstance(value, (list, tuple)):
        return len(value) + (0 if "size" in name else 1)
    if not isinstance(value, int):
        return None
    return (
        math.ceil(extent / max(1, value))
        if "size" in name
        else min(value, max(1, extent))
        if "chunk" in name
        else value
    )


def _extent(tensor: torch.Tensor, dim: Any) -> int:
    """The size that is cut: that of the dimension named, else the largest."""
    if isinstance(dim, int) and -tensor.dim() <= dim < tensor.dim():
        return int(tensor.shape[dim])
    return max(map(int, tensor.shape), default=1)


def _largest(given: dict[str, Any]) -> int:
    """What the results of an op of unknown form hardly exceed: of its lists, sizes and integers the largest."""
    found = [1]
    for value in given.values():
        parts = value if isinstance(value, (list, tuple)) else (value,)
        found.append(len(parts))
        for part in parts:
            found += map(int, part.shape) if isinstance(part, torch.Tensor) else [part] if type(part) is int else []
    return max(found)


def _steps(data: Any, given: dict[str, Any]) -> int:
    """Steps of a recurrent op: those of its sequence, for each layer and direction; a packed one has them in sizes."""
    layers = int(given["num_layers"]) * (2 if given.get("bidirectional") else 1)
    sizes = given.get("batch_sizes")
    if isinstance(sizes, torch.Tensor):
        return layers * sizes.numel()
    if not isinstance(data, torch.Tensor) or data.dim() == 0:
        return layers
    return layers * int(data.shape[1 if given.get("batch_first") and data.dim() > 1 else 0])
