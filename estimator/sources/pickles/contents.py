"""What a pickle holds, told from its records alone: models by where they stand, and shapes of tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.sources.choosing import Part
from estimator.sources.pickles.pickle_data import Made
from estimator.sources.wrappers import FLAT, FLAT_MESSAGE, HELD, unwrapped

_LISTS = ("torch.nn.modules.container.ModuleDict", "torch.nn.modules.container.ModuleList")
"""Modules that hold others and run none of them."""


def opened(value: Any) -> Any:
    """`value` without the wrappers around it (`wrappers.HELD`)."""
    return unwrapped(value, _held_by)


def part_of(value: Any) -> Part | None:
    """The model that `value` is, without its wrappers; None where it is none, or a list of models."""
    record = opened(value)
    if not isinstance(record, Made) or not _is_module(record) or str(record.maker) in _LISTS:
        return None
    return Part(record, record.maker.name, _parameters(record))


def items_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """The (name, item) pairs of a container; an object that is no layer is one of its attributes."""
    value = opened(value)
    if isinstance(value, Made) and not value.called and isinstance(value.state, dict):
        return _children(value).items() if _is_module(value) else value.state.items()
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else ()


def inside(record: Made, name: str) -> Any:
    """The layer `name` of a model; None where it has none."""
    child = _children(record).get(name)
    return opened(child) if isinstance(child, Made) and _is_module(opened(child)) else None


def _is_module(record: Made) -> bool:
    """Whether an object has the attributes of every `nn.Module`."""
    state = record.state if isinstance(record.state, dict) else {}
    return not record.called and all(isinstance(state.get(name), dict) for name in ("_modules", "_parameters"))


def _children(record: Made) -> dict[Any, Any]:
    modules: dict[Any, Any] = record.state["_modules"]
    return modules


def _held_by(value: Any) -> Made | None:
    """The record of the module that a wrapper's record holds; None for all else."""
    name = HELD.get(str(value.maker)) if isinstance(value, Made) else None
    if name is None:
        return None
    if value.called:  # torch.compile's, made anew around its first argument
        held = value.args[0] if value.args else None
    else:
        state = value.state if isinstance(value.state, dict) else {}
        children = state.get("_modules")
        held = children[name] if isinstance(children, dict) and name in children else state.get(name)
    if not isinstance(held, Made):
        return None
    parameters = held.state.get("_parameters") if isinstance(held.state, dict) else None
    if isinstance(parameters, dict) and FLAT in parameters:
        raise ModelFileError(FLAT_MESSAGE)
    return held


def _parameters(record: Made) -> int:
    """The elements of the parameters of a model, of tied ones once."""
    total, seen = 0, set[int]()
    todo: list[Any] = [record]
    while todo:
        module = opened(todo.pop())
        if not isinstance(module, Made) or id(module) in seen or not _is_module(module):
            continue
        seen.add(id(module))
        todo += _children(module).values()
        for tensor in module.state["_parameters"].values():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                total += math.prod(shape_of(tensor) or (0,))
    return total


def shape_of(tensor: Any) -> tuple[int, ...] | None:
    """The shape of a tensor's record, or of the tensor in a parameter's; None for what is none."""
    for size in _sizes(tensor):
        sizes = size.args[0] if isinstance(size, Made) and size.args else size  # torch.Size, or a plain tuple
        if isinstance(sizes, tuple) and all(type(n) is int and 0 <= n < 2**48 for n in sizes):
            return sizes
    return None


def _sizes(record: Any) -> Iterator[Any]:
    """What stands for the shape in the call that makes a tensor, at each known place."""
    places = {
        "_rebuild_tensor": 2,
        "_rebuild_tensor_v2": 2,
        "_rebuild_tensor_v3": 2,
        "_rebuild_meta_tensor_no_storage": 1,
    }
    for _ in range(3):  # a parameter around a tensor of a subclass around a tensor
        if not isinstance(record, Made) or not record.called:
            return
        name, args = record.maker.name, record.args
        if name in places and len(args) > places[name]:
            yield args[places[name]]
            return
        if name == "_rebuild_from_type_v2" and len(args) > 2 and isinstance(args[2], tuple):
            record = Made(args[0], args[2], called=True)
        else:
            record = args[0] if args else None
