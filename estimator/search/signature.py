"""Signatures: modules that have equal ones do the same ops on the same inputs, so that one of them is traced for all.

A module's signature is its class, everything that stands in its `__dict__`, and the signatures of its children: what
its `forward` can depend on, short of the values of tensors (there are none on meta tensors) and of global state. What
cannot be described so (hooks, objects of classes that are not known here) makes a module opaque: it is run every time.
"""

from __future__ import annotations

import enum
import functools
import itertools
import types
import weakref
from collections.abc import Collection, Hashable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from estimator.search.recent import Recent

_ROOM = 2**14
"""Signatures that are remembered; one that was forgotten gets a new number, and is traced again."""

PLAIN = frozenset(
    {int, float, complex, bool, str, bytes, type(None), type(...), range, type, torch.dtype, torch.device, torch.Size}
    | {torch.layout, torch.memory_format, types.BuiltinFunctionType}
)
"""Types whose values say all by themselves."""

_STATE = frozenset(vars(nn.Module()))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Like(NamedTuple):
    """A tensor without its data."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool = False

    @classmethod
    def of(cls, tensor: Tensor) -> Like:
        """What `tensor` is like."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.requires_grad)

    def make(self) -> Tensor:
        """A meta tensor like this, without a gradient."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")


class Opaque(Exception):
    """Something that a signature cannot describe."""


def described(value: Any) -> Hashable:
    """Equal for values that act alike; their types are part of it, since 1 equals 1.0. Raises `Opaque`."""
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    if kind in (list, tuple):
        return kind, *map(described, value)
    if kind is dict:
        return kind, *((described(key), described(part)) for key, part in value.items())
    if kind in (set, frozenset):
        return kind, frozenset(map(described, value))
    if kind is types.FunctionType:
        cells = tuple(described(cell.cell_contents) for cell in value.__closure__ or ())
        return value.__code__, value.__module__, described(value.__defaults__), described(value.__kwdefaults__), cells
    if kind is functools.partial:
        return kind, described(value.func), described(value.args), described(value.keywords)
    if kind in (Tensor, nn.Parameter) and value.is_meta:
        return Like.of(value)
    if kind is weakref.ref:  # how nn.LSTM holds its weights
        return kind, described(value())
    if isinstance(value, (type, enum.Enum, np.number)):
        return kind, value
    raise Opaque


class Signatures:
    """Numbers for signatures, the same for equal ones, as long as they are remembered."""

    def __init__(self) -> None:
        self._numbers: Recent[Hashable, int] = Recent(_ROOM)
        self._next = itertools.count(1)

    def number(self, signature: Hashable) -> int:
        """The number of `signature`; never 0."""
        known = self._numbers.get(signature)
        if known is None:
            known = next(self._next)
            self._numbers.put(signature, known)
        return known


class Structure:
    """The signatures of a module and all its parts, by the identity of each; None for what is opaque.

    `trained` are the identities of the parameters that are trained: all that have a gradient, but for those in
    `frozen`; `trained_modules` those of the modules that hold some, of their own or in their parts. `steps` are, module
    by module, its own trained parameters: what the optimizer steps over. `shared` says whether some parameter stands in
    two places; `dtypes` are those of the parameters.
    """

    def __init__(self, root: nn.Module, signatures: Signatures, frozen: Collection[int] = ()) -> None:
        self.numbers: dict[int, int | None] = {}
        self.steps: list[tuple[Like, ...]] = []
        self.trained: set[int] = set()
        self.trained_modules: set[int] = set()
        self.dtypes: set[torch.dtype] = set()
        self.shared = False
        self._signatures, self._frozen = signatures, frozen
        self._seen: set[int] = set()
        self.number = self._visit(root)

    def _visit(self, module: nn.Module) -> int | None:
        known = self.numbers.get(id(module), 0)
        if known != 0 and not module._parameters and not module._modules:  # one activation in many places
            return known
        parts = [(name, child) for name, child in module._modules.items() if child is not None]
        children = tuple([(name, self._visit(child)) for name, child in parts])
        parameters = tuple([(name, p is not None and self._parameter(p)) for name, p in module._parameters.items()])
        own = tuple([like for _, like in parameters if like and like.requires_grad])
        if own:
            self.steps.append(own)
        if own or any(id(child) in self.trained_modules for _, child in parts):
            self.trained_modules.add(id(module))
        number = self._described(module, parameters, children)
        self.numbers[id(module)] = number
        return number

    def _parameter(self, parameter: Tensor) -> Like:
        identity = id(parameter)
        if identity in self._seen:
            self.shared = True
        self._seen.add(identity)
        self.dtypes.add(parameter.dtype)
        trained = parameter.requires_grad and identity not in self._frozen
        if trained:
            self.trained.add(identity)
        return Like(tuple(parameter.shape), parameter.stride(), parameter.dtype, trained)

    def _described(self, module: nn.Module, parameters: Hashable, children: tuple[Any, ...]) -> int | None:
        state = vars(module)
        if isinstance(module, torch.jit.ScriptModule) or any(state[hooks] for hooks in _HOOKS):
            return None
        if any(number is None for _, number in children):
            return None
        try:
            own = tuple([(name, described(value)) for name, value in state.items() if name not in _STATE])
            buffers = tuple([(name, described(buffer)) for name, buffer in module._buffers.items()])
        except Opaque:
            return None
        return self._signatures.number((type(module), module.training, own, parameters, buffers, children))
