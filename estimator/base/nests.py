"""Values within values: what a model is called with may hold its tensors in any nest of containers and objects."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

_PLAIN = (str, bytes, int, float, complex, type(None))
"""Types whose values hold no others."""


def with_each(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """`value` with every instance of `kind` in it changed, in a fixed order, and all else as it is.

    Mappings, lists, tuples and the attributes of other objects (dataclasses, namespaces, classes of the user's own) are
    looked into and copied where something in them changes; functions, classes and modules, which are called, are not.
    """
    return _Changed(kind, change).of(value)


def each(value: Any, kind: type) -> list[Any]:
    """The instances of `kind` in `value`, in the order of `with_each`."""
    found: list[Any] = []

    def look(part: Any) -> Any:
        found.append(part)
        return part

    with_each(value, kind, look)
    return found


class _Changed:
    def __init__(self, kind: type, change: Callable[[Any], Any]) -> None:
        self._kind, self._change = kind, change
        self._made: dict[int, Any] = {}  # one object in two places stays one; one that holds itself is left as it is

    def of(self, value: Any) -> Any:
        if isinstance(value, self._kind):
            return self._change(value)
        if isinstance(value, _PLAIN) or callable(value):
            return value
        if id(value) not in self._made:
            self._made[id(value)] = value
            parts = dict(_parts(value))
            changed = {key: self.of(part) for key, part in parts.items()}
            if any(changed[key] is not parts[key] for key in parts):
                self._made[id(value)] = _copied(value, changed)
        return self._made[id(value)]


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    else:
        names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
        for name in dict.fromkeys((*names, *getattr(value, "__dict__", ()))):
            if hasattr(value, name):
                yield name, getattr(value, name)


def _copied(value: Any, parts: dict[Any, Any]) -> Any:
    """`value` anew, with `parts` in the places of its own."""
    if isinstance(value, tuple):
        make = getattr(type(value), "_make", type(value))  # a named tuple takes its parts one by one
        return make(parts.values())
    if isinstance(value, Mapping) and not isinstance(value, MutableMapping):
        return parts
    made = copy.copy(value)
    for name, part in parts.items():
        if isinstance(value, (list, Mapping)):
            made[name] = part
        else:
            object.__setattr__(made, name, part)  # a frozen dataclass too
    return made
