"""How the matrices of quantized layers lie in memory: fewer bits an element, and scales for groups of elements."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MARK = "_joulecast_stored"


@dataclass(frozen=True)
class Stored:
    """The format of a weight: `bits` an element, and `group_bits` (scale, zero point) for every `group` elements.

    A `group` of 0 is all that one output is made of: a row of a linear layer's matrix, a filter of a convolution.
    """

    name: str
    bits: int
    group_bits: float
    group: int = 0

    def nbytes(self, elements: int, outputs: int) -> int:
        """Bytes of a weight of `elements` numbers for `outputs` outputs, its scales among them."""
        groups = ceil(elements / self.group) if self.group else outputs
        return ceil((elements * self.bits + groups * self.group_bits) / 8)


def mark(layer: torch.nn.Module, stored: Stored) -> None:
    """Say that the `weight` of `layer` is stored so; it is not trained then, as no library trains it."""
    layer.__dict__[_MARK] = stored
    layer.weight.requires_grad_(False)


def stored_as(layer: torch.nn.Module) -> Stored | None:
    """How the weight of `layer` is stored; None where it is in the run's dtype."""
    found = layer.__dict__.get(_MARK)
    return found if isinstance(found, Stored) else None


def stored_bytes(layer: torch.nn.Module) -> int | None:
    """Bytes of the weight of `layer` as it is stored; None where it is in the run's dtype."""
    stored = stored_as(layer)
    if stored is None:
        return None
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    columns_first = type(layer).__name__ == "Conv1D"  # transformers' linear layer of GPT-2: (inputs, outputs)
    return stored.nbytes(weight.numel(), weight.shape[1 if columns_first else 0])


def told(module: torch.nn.Module) -> tuple[str, int]:
    """Which layers of `module` have weights stored in fewer bits, and in how many at most; "" and 0 where none."""
    counts = Counter(stored for layer in module.modules() if (stored := stored_as(layer)))
    shown = ", ".join(f"{stored.bits}-bit ({stored.name}) in {n:,} layers" for stored, n in counts.items())
    return shown.replace("in 1 layers", "in 1 layer"), max((stored.bits for stored in counts), default=0)
