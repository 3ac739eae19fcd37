"""Example inputs: their shapes per sample, read from `--input` or derived from the model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputSpec:
    """One input of a model: the shape of ONE sample (no batch dimension), its dtype and how it is passed.

    `dtype` is "float" (the scenario's dtype), or a torch dtype name such as "int64". `name` is the keyword of
    `forward`, or None for a positional input. `batch_dim` is where the batch dimension is inserted. `high` bounds
    integer values (a vocabulary size), None where nothing is known.
    """

    shape: tuple[int, ...]
    dtype: str = "float"
    name: str | None = None
    batch_dim: int = 0
    high: int | None = None
