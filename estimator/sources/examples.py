"""Example inputs: any nest of tensors, containers, objects, numbers and None that `forward` is called with."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from estimator.base.errors import ModelFileError
from estimator.base.nests import with_each
from estimator.sources.inputs import Call, InputSpec, Place
from estimator.sources.loaded import LoadedModel

_REMEDY = "give what forward is called with, (x,) or {'x': x}, with one sample's tensors"


def with_example(model: LoadedModel, example: Any, source: str) -> LoadedModel:
    """`model` with the inputs of `example`: a tuple or list is positional arguments, a mapping those by name.

    Where `forward` does not take them so, the whole is its one argument. `source` says whose example it is. Raises
    `ModelFileError` where no tensor is in it.
    """
    args, kwargs = _arguments(example, model.module)
    tensors: list[Tensor] = []

    def place(tensor: Tensor) -> Place:
        tensors.append(tensor)
        return Place(len(tensors) - 1)

    placed = with_each((args, kwargs), Tensor, place)
    if not tensors:
        raise ModelFileError(f"{source} of {model.name} hold no tensor: {_REMEDY}")
    shapes = [tuple(tensor.shape) for tensor in tensors]
    alone = one_sample(shapes)
    dims = [None] * len(shapes) if alone else batch_dims(shapes)
    plain = all(isinstance(value, Tensor) for value in (*args, *kwargs.values()))
    call = None if plain else Call(*placed)
    names = _labels(placed)
    specs = tuple(
        replace(_spec(tensor, dim), name=names.get(number), call=call)
        for number, (tensor, dim) in enumerate(zip(tensors, dims, strict=True))
    )
    why = f"{source} ({shown_shapes(shapes)}) share no batch dimension, and are taken as one sample" if alone else ""
    fixed = 1 if alone else None
    return replace(model, inputs=specs, inputs_source=source, fixed_batch=fixed, no_batch=why)


def shown_shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    """Shapes in the words of a report."""
    return ", ".join("x".join(map(str, shape)) or "a number" for shape in shapes)


def one_sample(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether tensors of these shapes tell of no batch: vectors and matrices that differ in their first sizes.

    Nodes x features beside 2 x edges are a graph. A first size of 1 is a batch all the same, and so is that of pictures
    or sequences beside what has another size.
    """
    with_sizes = [shape for shape in shapes if shape]
    if any(len(shape) > 2 for shape in with_sizes) or (with_sizes and with_sizes[0][0] == 1):
        return False
    return not with_sizes or len({shape[0] for shape in with_sizes}) > 1


def batch_dims(shapes: Sequence[tuple[int, ...]]) -> list[int | None]:
    """Where the batch stands in tensors of these shapes, None where it does not.

    It is the first size of the (first) tensor of most dimensions; where all other tensors of three dimensions have the
    same second size and another first, they are a recurrent layer's states, and that size is the batch. In the rest it
    is the dimension that alone has this size, and nowhere where there is none (a mask, a table, a number).
    """
    largest = max(shapes, key=len)
    states = [shape for shape in shapes if len(shape) == len(largest) == 3 and shape is not largest]
    of_states = [shape[1] == largest[1] and shape[0] != largest[0] != 1 for shape in states]
    batch = largest[1] if of_states and all(of_states) else largest[0]
    return [
        0 if shape and shape[0] == batch else shape.index(batch) if shape.count(batch) == 1 else None
        for shape in shapes
    ]


def _arguments(example: Any, module: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`example` as the arguments of `forward`."""
    args: tuple[Any, ...] = (example,)
    kwargs: dict[str, Any] = {}
    if isinstance(example, Mapping) and all(isinstance(name, str) for name in example):
        args, kwargs = (), dict(example)
    elif isinstance(example, (tuple, list)) and not hasattr(example, "_fields"):
        args = tuple(example)
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):
        return args, kwargs
    fits = _binds(signature, args, kwargs)
    return (args, kwargs) if fits or not _binds(signature, (example,), {}) else ((example,), {})


def _binds(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _spec(tensor: Tensor, batch_dim: int | None) -> InputSpec:
    dtype = "float" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    sizes = list(tensor.shape)
    batch = None if batch_dim is None else sizes.pop(batch_dim)
    return InputSpec(tuple(sizes), dtype, batch_dim=batch_dim, example_batch=batch)


def _labels(placed: tuple[tuple[Any, ...], dict[str, Any]]) -> dict[int, str | None]:
    """Each input's name, by its number: its keyword in the call, or its key or attribute where it stands."""
    return dict(_named(placed, None))


def _named(value: Any, name: str | None) -> Iterator[tuple[int, str | None]]:
    if isinstance(value, Place):
        yield value.number, name
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _named(part, str(key) if str(key).isidentifier() else name)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _named(part, name)
