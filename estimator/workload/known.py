"""Values that are known although nothing runs: what a model makes of constants and of its own buffers.

A mask of zeros that `forward` makes itself holds no 1, whatever the data. While values are read, small tensors whose
elements follow from constants alone are computed beside the trace, on the CPU, and answer what would be guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from estimator.base.errors import FOREIGN_ERRORS

LIMIT_ELEMENTS = 1 << 20
"""Tensors of more elements are not computed: their values count as unknown."""

_MAKERS = frozenset(
    """
    zeros ones full arange linspace eye scalar_tensor tril_indices triu_indices hann_window zeros_like ones_like
    full_like new_zeros new_ones new_full
    """.split()
)
"""Ops whose result is known whatever tensor they take, which is a template of shape and dtype."""


class _NotKnown(Exception):
    """An argument's elements are not known."""


class KnownValues:
    """The tensors of one trace whose elements are known, with their elements."""

    def __init__(self) -> None:
        self._values: MutableMapping[Tensor, Tensor] = WeakIdKeyDictionary()
        self._spoiled: dict[
            int, Tensor
        ] = {}  # storages that an unknown value was written to (kept: an id is used again)

    def buffers(self, stand_ins: Mapping[str, Tensor], real: Iterable[tuple[str, Tensor]]) -> None:
        """Take over the elements of a module's small buffers, where it has any, for their stand-ins."""
        for name, t in real:
            if _is_plain(t):
                self._values[stand_ins[name]] = t.detach().to(stand_ins[name].dtype, copy=True)

    def of(self, t: Tensor) -> Tensor | None:
        """The elements of `t` (a tensor on the CPU), None where they are not known."""
        value: Tensor | None = self._values.get(t)
        if value is None and _is_plain(t):
            value = self._values[t] = t.detach().clone()  # a constant of the model's own, left as it is
        return None if value is None or _storage(value) in self._spoiled else value

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Work out the elements of `out`, the result of an op on `args`, where those of its tensors are known."""
        outs = [t for t in tree_flatten(out)[0] if isinstance(t, Tensor)]
        if sum(t.numel() for t in outs) > LIMIT_ELEMENTS or not outs:
            return self._forget(func, args, kwargs)
        name = func._overloadpacket.__name__
        maker, random = name in _MAKERS, torch.Tag.nondeterministic_seeded in func.tags
        given = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        if random or "empty" in name or func.namespace != "aten" or not (maker or given):
            return self._forget(func, args, kwargs)
        if not maker and any(t not in self._values and not _is_plain(t) for t in given):
            return self._forget(func, args, kwargs)

        def known(t: Tensor) -> Tensor:
            value = self.of(t)
            if value is None and maker:
                return torch.empty(t.shape, dtype=t.dtype, device="cpu")
            if value is None:
                raise _NotKnown
            return value

        with unset_fake_temporarily(), torch.no_grad():
            try:
                known_args, known_kwargs = tree_map_only(Tensor, known, (args, _on_cpu(kwargs)))
                values = [t for t in tree_flatten(func(*known_args, **known_kwargs))[0] if isinstance(t, Tensor)]
            except (_NotKnown, *FOREIGN_ERRORS):
                return self._forget(func, args, kwargs)
        for t, value in zip(outs, values, strict=True):
            if t.shape == value.shape:
                self._values[t] = value

    def result(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What an op that reads values gives on known ones (tensors as stand-ins); None where one is not known."""
        given = [self.of(t) if isinstance(t, Tensor) else t for t in args]
        if any(isinstance(t, Tensor) and value is None for t, value in zip(args, given, strict=True)):
            return None
        with unset_fake_temporarily(), torch.no_grad():
            found = func(*given, **kwargs)
        return tree_map_only(Tensor, lambda value: self._stands_for(args[0], value), found)

    def selected(self, mask: Tensor) -> list[Tensor] | None:
        """The index tensors that a boolean mask stands for; None where it is not known."""
        value = self.of(mask)
        if value is None:
            return None
        return [self._stands_for(mask, index) for index in value.nonzero(as_tuple=True)]

    def _stands_for(self, t: Tensor, value: Tensor) -> Tensor:
        """A tensor like `value` where `t` is, whose elements are known."""
        stand_in = t.new_empty(value.shape, dtype=value.dtype)
        self._values[stand_in] = value
        return stand_in

    def _forget(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What `func` writes over is not known any more, nor is any view of it."""
        for place, name in _written(func):
            for t in tree_flatten(args[place] if place < len(args) else kwargs.get(name))[0]:
                value = self._values.get(t) if isinstance(t, Tensor) else None
                if value is not None:
                    self._spoiled[_storage(value)] = value


@cache
def _written(func: Any) -> tuple[tuple[int, str], ...]:
    """Places and names of the arguments that an op writes over."""
    arguments = enumerate(func._schema.arguments)
    return tuple((i, a.name) for i, a in arguments if a.alias_info is not None and a.alias_info.is_write)


def _is_plain(t: Tensor) -> bool:
    """Whether `t` is a small tensor on the CPU with elements of its own: no stand-in."""
    ours = isinstance(t, FakeTensor) or t.device.type != "cpu" or t.layout is not torch.strided
    return not ours and t.numel() <= LIMIT_ELEMENTS


def _on_cpu(kwargs: dict[str, Any]) -> dict[str, Any]:
    return kwargs | {"device": torch.device("cpu")} if kwargs.get("device") is not None else kwargs


def _storage(t: Tensor) -> int:
    return int(t.untyped_storage()._cdata)
