"""The loss that training is assumed to minimise, by the form of the model's output."""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LOSS = "cross entropy or squared error"
LOSS_RULE = "cross entropy where the output is named logits or is batch x classes, else mean squared error"
"""What `assumed_loss` does, in words."""


_SHOWN = 3
"""Of how many outputs the losses are named one by one."""


_DEEPEST = 6
"""How many objects inside each other are looked into."""
_PLAIN = (str, bytes, int, float, complex, type(None), type, range, slice, torch.dtype, torch.device, Enum)
"""Types whose values hold no tensor."""
_CLOSED = (nn.Module, types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)
"""Types whose values are run, not read: what their tensors are for is not known."""


class _Outputs:
    """Every floating or complex tensor in a model's output, with its name; and the types that were not looked into.

    Containers hold their elements, other objects (dataclasses, distributions, namespaces, classes of the user's own)
    their public attributes, or, where no tensor is among those, their private ones. Properties are not asked, and
    nothing is called or iterated that is no container.
    """

    def __init__(self, output: Any) -> None:
        self.found: list[tuple[str, Tensor]] = []
        self.unread: dict[str, None] = {}
        self._read: set[int] = set()  # objects, and tensors that an object holds, often under two names
        self._add(output, "", 0)

    def _add(self, value: Any, name: str, depth: int) -> None:
        if isinstance(value, Tensor):
            if value.is_floating_point() or value.is_complex():
                self.found.append((name, value))
        elif isinstance(value, Mapping):
            for key, part in value.items():
                self._add(part, str(key), depth)
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            for part in value:
                self._add(part, name, depth)
        elif not isinstance(value, _PLAIN) and self._is_new(value):
            self._add_object(value, depth)

    def _is_new(self, value: Any) -> bool:
        new = id(value) not in self._read
        self._read.add(id(value))
        return new

    def _add_object(self, value: Any, depth: int) -> None:
        attributes = None if isinstance(value, _CLOSED) else _attributes(value)
        if attributes is None or depth == _DEEPEST:
            self.unread[type(value).__name__] = None
            return
        before = len(self.found)
        for private in (False, True):
            for name, part in attributes.items():
                taken = name.startswith("_") is private
                if taken and not (isinstance(part, Tensor) and not self._is_new(part)):
                    self._add(part, name, depth + 1)
            if len(self.found) > before:
                return


def _attributes(value: Any) -> dict[str, Any] | None:
    """The attributes that an object holds, without asking its code; None where it has no place for any."""
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    if not slots and not hasattr(value, "__dict__"):
        return None
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return held | getattr(value, "__dict__", {})


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _own_loss(output: Any) -> Tensor | None:
    """The loss of a model that returns one (Hugging Face models given labels), where a gradient reaches it."""
    own = output.get("loss") if isinstance(output, Mapping) else None
    return own if isinstance(own, Tensor) and own.requires_grad else None


def unread_outputs(output: Any) -> tuple[str, ...]:
    """The types, each once, of the parts of a model's output that `assumed_loss` has to leave out."""
    return () if _own_loss(output) is not None else tuple(_Outputs(output).unread)


def _loss_of(name: str, output: Tensor) -> tuple[Tensor, str]:
    if output.is_complex():
        return _loss_of(name, output.abs())
    classes = output.shape[-1] if output.dim() > 1 else 1
    if classes > 1 and (name == "logits" or output.dim() == 2):
        targets = torch.zeros(output.shape[:-1].numel(), dtype=torch.long, device=output.device)
        loss = functional.cross_entropy(output.reshape(-1, classes), targets)
        return loss, f"cross entropy over {classes} classes"
    return functional.mse_loss(output, torch.zeros_like(output)), "mean squared error"


def training_loss(output: Any) -> Tensor | None:
    """The loss alone, of `assumed_loss`."""
    return assumed_loss(output)[0]


def assumed_loss(output: Any) -> tuple[Tensor | None, str]:
    """The sum of the losses over all outputs that a gradient reaches, and its name; None and "" where none does.

    A model that returns a `loss` of its own (Hugging Face models given labels) is taken at its word.
    """
    own = _own_loss(output)
    if own is not None:
        return own, "the model's own loss"
    found = [_loss_of(name, t) for name, t in _Outputs(output).found if t.requires_grad]
    if not found:
        return None, ""
    losses, names = zip(*found, strict=True)
    said = " + ".join(names[:_SHOWN]) + (f" + {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0], said
