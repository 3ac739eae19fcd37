"""The loss that training is assumed to minimise, by the form of the model's output."""

from __future__ import annotations

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
_PLAIN = (str, bytes, bool, int, float, complex, type(None), type, torch.dtype, torch.device, Enum)


class _Outputs:
    """Every floating tensor in a model's output, with its name; and the types of what could not be looked into.

    Containers hold their elements, other objects (dataclasses, distributions, namespaces, classes of the user's own)
    their public attributes. Properties are not asked, and nothing is called or iterated that is no container.
    """

    def __init__(self, output: Any) -> None:
        self.found: list[tuple[str, Tensor]] = []
        self.unread: list[str] = []
        self._attributes: set[int] = set()
        self._add(output, "", 0)

    def _add(self, value: Any, name: str, depth: int) -> None:
        """Add `value`; the modulus of a complex tensor."""
        if isinstance(value, Tensor):
            if value.is_floating_point():
                self.found.append((name, value))
            elif value.is_complex():
                self.found.append((name, value.abs()))
        elif isinstance(value, Mapping):
            for key, part in value.items():
                self._add(part, str(key), depth)
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            for part in value:
                self._add(part, name, depth)
        elif not isinstance(value, _PLAIN) and id(value) not in self._attributes:
            self._add_object(value, depth)

    def _add_object(self, value: Any, depth: int) -> None:
        attributes = None if isinstance(value, nn.Module) or callable(value) else _attributes(value)
        if attributes is None or depth == _DEEPEST:
            self.unread.append(type(value).__name__)
            return
        self._attributes.add(id(value))
        for name, part in attributes.items():
            if not isinstance(part, Tensor):
                self._add(part, name, depth + 1)
            elif id(part) not in self._attributes:  # an object often holds a tensor under two names
                self._attributes.add(id(part))
                self._add(part, name, depth + 1)


def _attributes(value: Any) -> dict[str, Any] | None:
    """The public attributes that an object holds, without asking its code; None where it has no place for any."""
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    if not slots and not hasattr(value, "__dict__"):
        return None
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
    return {name: part for name, part in held.items() if not name.startswith("_")}


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def unread_outputs(output: Any) -> tuple[str, ...]:
    """The types, each once, of the parts of a model's output that `assumed_loss` does not look into."""
    return tuple(dict.fromkeys(_Outputs(output).unread))


def _loss_of(name: str, output: Tensor) -> tuple[Tensor, str]:
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
    own = output.get("loss") if isinstance(output, Mapping) else None
    if isinstance(own, Tensor) and own.requires_grad:
        return own, "the model's own loss"
    found = [_loss_of(name, t) for name, t in _Outputs(output).found if t.requires_grad]
    if not found:
        return None, ""
    losses, names = zip(*found, strict=True)
    said = " + ".join(names[:_SHOWN]) + (f" + {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0], said
