"""The storages that a pass makes: how large each is, and from which op to which it is held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """The storages that one pass makes, in the order in which it makes them; each array has one entry a storage.

    `nbytes` are as asked for; `dtypes` those of the first tensor in it. One that is `born` while op i runs and `died`
    while op j does is held from i to j, both included. `gradient`: of a parameter, held by the parameter at the end.
    Ops are counted over all dispatches; the forward pass and the loss end with op `forward_ops - 1`, the whole with
    `ops - 1`.
    """

    nbytes: Counts
    dtypes: tuple[str, ...]
    born: Counts
    died: Counts
    gradient: Flags
    forward_ops: int
    ops: int

    @property
    def saved(self) -> Flags:
        """What the forward pass makes and something still holds when it ends: backward needs it, or the caller."""
        return (self.born < self.forward_ops) & (self.died >= self.forward_ops)

    def saved_bytes(self) -> Mapping[str, int]:
        """Bytes of `saved` by dtype."""
        found: dict[str, int] = {}
        for index in np.flatnonzero(self.saved):
            found[self.dtypes[index]] = found.get(self.dtypes[index], 0) + int(self.nbytes[index])
        return found

    def alike(self, other: Lifetimes) -> bool:
        """Whether the other pass makes and lets go of as many storages at the same ops."""
        return np.array_equal(self.born, other.born) and np.array_equal(self.died, other.died)
