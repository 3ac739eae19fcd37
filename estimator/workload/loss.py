"""The loss that training is assumed to minimise, by the form of the model's output."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LOSS = "cross entropy or squared error"
LOSS_RULE = "cross entropy where the output is named logits or is batch x classes, else mean squared error"
"""What `assumed_loss` does, in words."""


_SHOWN = 3
"""Of how many outputs the losses are named one by one."""


def _outputs(output: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every floating tensor in a model's output, however nested; the modulus of a complex one."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield name, output
        elif output.is_complex():
            yield name, output.abs()
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _outputs(value, str(key))
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from _outputs(value, name)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for f in dataclasses.fields(output):
            yield from _outputs(getattr(output, f.name), f.name)


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
    found = [_loss_of(name, t) for name, t in _outputs(output) if t.requires_grad]
    if not found:
        return None, ""
    losses, names = zip(*found, strict=True)
    said = " + ".join(names[:_SHOWN]) + (f" + {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0], said
