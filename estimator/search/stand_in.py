"""What stands in for a part of a model: what it was called with, what it gave back, and tensors like those."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from estimator.search.signature import PLAIN, Like

_TENSOR = object()
"""Stands for a tensor in the form of an output."""

_SAME = object()
"""The kind of an input that is the same tensor as one before."""


Gradients = tuple["Like | None", ...]
Told = TypeVar("Told")
"""What is kept of ops: see `estimator.search.parts`."""


class Inputs(NamedTuple):
    """What a module is called with: tensors as `Like`, plain values with their types; the last ones by keyword.

    A tensor that was given before is told by its place: self-attention reads one tensor, not three.
    """

    values: tuple[Any, ...]
    keywords: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[Like, ...]:
        """The tensors among them."""
        return tuple([value for value in self.values if type(value) is Like])


class Form(NamedTuple):
    """How the tensors of an output stand among plain values, lists, tuples and dictionaries."""

    leaves: tuple[Any, ...]
    spec: TreeSpec

    @classmethod
    def of(cls, output: Any) -> tuple[Form, list[Tensor]]:
        """The form of `output`, and its tensors."""
        leaves, spec = tree_flatten(output)
        told = tuple([_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves])
        return cls(told, spec), [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    @property
    def single(self) -> bool:
        """Whether the output is one tensor."""
        return self.spec.is_leaf() and self.leaves[0] is _TENSOR

    @property
    def plain(self) -> bool:
        """Whether nothing but tensors and plain values is in it."""
        return all(leaf is _TENSOR or type(leaf) in PLAIN for leaf in self.leaves)

    def filled(self, tensors: tuple[Tensor, ...]) -> Any:
        """An output of this form with `tensors` in it."""
        if self.single:
            return tensors[0]
        left = iter(tensors)
        return tree_unflatten([next(left) if leaf is _TENSOR else leaf for leaf in self.leaves], self.spec)


SINGLE = Form.of(torch.empty(0, device="meta"))[0]
"""The form of one tensor."""


@dataclass(frozen=True)
class Backward(Generic[Told]):
    """What the backward pass of a part does: its ops, and the gradients of the tensors it was called with."""

    told: Told
    gradients: Gradients


@dataclass
class Part(Generic[Told]):
    """What a module does with inputs of one kind.

    `in_place` says that it writes to its input or hands it out again: then it has to be run where it stands. `links`
    are the inputs of a chain's children. `backward` is known by the gradients of the outputs.
    """

    outputs: tuple[Like, ...]
    form: Form
    forward: Told
    in_place: bool
    links: tuple[Inputs, ...] | None = None
    backward: dict[Gradients, Backward[Told]] = field(default_factory=dict)


class StandIn(torch.autograd.Function):
    """Tensors like `outputs`, as if made of `inputs`; `back` is given their gradients and gives those of `inputs`.

    `anchor` needs a gradient: so do the outputs, also where nothing but parameters is behind them.
    """

    @staticmethod
    def forward(ctx: Any, back: Any, outputs: tuple[Like, ...], anchor: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Make the outputs."""
        ctx.back = back
        ctx.set_materialize_grads(False)
        made = tuple([like.make() for like in outputs])
        ctx.mark_non_differentiable(*[t for t, like in zip(made, outputs, strict=True) if not like.requires_grad])
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Make the gradients of `inputs`."""
        told = tuple([None if g is None else Like.of(g) for g in gradients])
        return (None, None, None, *[like and like.make() for like in ctx.back(told)])


def sources_of(inputs: Inputs, anchor: Tensor, back: list[Gradients]) -> tuple[list[Any], int]:
    """The values of `inputs`, and how many of them have a gradient, which is added to `back` once it is known."""

    def keep(gradients: Gradients) -> Gradients:
        back.append(gradients)
        return ()

    likes = tuple([like for like in inputs.tensors if like.requires_grad])
    made = iter(StandIn.apply(keep, likes, anchor) if likes else ())  # type: ignore[no-untyped-call]

    values: list[Any] = []
    for told in inputs.values:
        if type(told) is Like:
            values.append(next(made) if told.requires_grad else told.make())
        else:
            values.append(values[told[1]] if told[0] is _SAME else told[1])
    return values, len(likes)


def inputs_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs | None:
    """What a call is given; None where that cannot be described."""
    values: list[Any] = []
    places: dict[int, int] = {}
    for place, value in enumerate((*args, *kwargs.values())):
        kind = type(value)
        if kind in PLAIN:
            values.append((kind, value))
        elif kind not in (Tensor, nn.Parameter) or not value.is_meta:
            return None
        elif (first := places.setdefault(id(value), place)) < place:
            values.append((_SAME, first))
        else:
            values.append(Like.of(value))
    return Inputs(tuple(values), tuple(kwargs))
