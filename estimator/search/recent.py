"""A bounded memory: what was used last stays."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most `room` values by their keys; the one that was not used for longest goes first."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """The value of `key`, which counts as a use; None where there is none."""
        value = self._held.get(key)
        if value is not None:
            self._held.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep `value`, and let the oldest one go where there is no room for it."""
        self._held[key] = value
        self._held.move_to_end(key)
        if len(self._held) > self._room:
            self._held.popitem(last=False)
