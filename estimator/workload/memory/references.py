"""How long each tensor that a pass makes lives, as PyTorch's own references say.

Nothing here knows which op saves what for backward: autograd, the model's code and its caller hold tensors while a
model is traced just as they do while it runs, and a storage that nobody holds any more is gone at once. Views share
the storage of what they are views of.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, UntypedStorage

from estimator.workload.memory.lifetimes import Lifetimes


class _Held(weakref.ref[UntypedStorage]):
    """A storage that may die, and which one it is."""

    __slots__ = ("address", "index")
    index: int
    address: int


class LifetimeRecorder:
    """Is told of each op that runs and of what it returns; `lifetimes` is the answer, once `end` was called."""

    lifetimes: Lifetimes

    def __init__(self) -> None:
        self._op = 0
        self._forward_ops: int | None = None
        self._nbytes: list[int] = []
        self._dtypes: list[str] = []
        self._born: list[int] = []
        self._died: list[int | None] = []
        self._alive: dict[int, _Held] = {}
        self._before: set[int] = set()

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Tensors that were there before, and outlive the pass: weights are accounted for elsewhere."""
        self._before |= {t.untyped_storage()._cdata for t in tensors if _has_storage(t)}

    def next_op(self) -> None:
        """An op begins."""
        self._op += 1

    def made(self, value: Any) -> None:
        """`value`, an op's result or an input: the storages in it are new, unless they are known."""
        if isinstance(value, (list, tuple)):
            for part in value:
                self.made(part)
        elif isinstance(value, Tensor) and _has_storage(value):
            self._add(value)

    def _add(self, t: Tensor) -> None:
        storage = t.untyped_storage()
        address = storage._cdata
        if address in self._alive or address in self._before:
            return
        held = self._alive[address] = _Held(storage, self._freed)
        held.index, held.address = len(self._born), address
        self._nbytes.append(storage.nbytes())
        self._dtypes.append(str(t.dtype).removeprefix("torch."))
        self._born.append(self._op)
        self._died.append(None)

    def _freed(self, held: _Held) -> None:
        self._died[held.index] = self._op
        self._alive.pop(held.address, None)

    def forward_ends(self) -> None:
        """The ops from now on belong to the backward pass."""
        self._op += 1
        self._forward_ops = self._op

    def end(self, parameters: Iterable[Tensor]) -> None:
        """The pass is over; what is held now is held throughout the optimizer's step, as the last op."""
        self._op += 1
        kept = [p.grad for p in parameters if p.grad is not None and _has_storage(p.grad)]
        addresses = {g.untyped_storage()._cdata for g in kept}
        gradient = np.zeros(len(self._born), bool)
        gradient[[held.index for address, held in self._alive.items() if address in addresses]] = True
        died = [self._op if at is None else at for at in self._died]
        self.lifetimes = Lifetimes(
            np.array(self._nbytes, np.int64),
            tuple(self._dtypes),
            np.array(self._born, np.int64),
            np.array(died, np.int64),
            gradient,
            self._op + 1 if self._forward_ops is None else self._forward_ops,
            self._op + 1,
        )
        self._alive.clear()


def _has_storage(t: Tensor) -> bool:
    """Whether the tensor has memory of its own kind: a sparse one has that of its parts, a zero of autograd's none."""
    return t.layout is torch.strided and not t._is_zerotensor()
