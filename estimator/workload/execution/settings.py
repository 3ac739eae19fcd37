"""How a model is run: what the scenario says of it beyond the dtype of its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Lists = Literal["cuda", "cpu"]
"""Whose lists of autocast: those of a GPU, or of the CPU."""


@dataclass(frozen=True)
class Autocast:
    """`torch.autocast`: parameters stay float32, and ops run in `dtype` ("bfloat16", "float16") or in float32.

    Which op runs in which, torch's `lists` for the device say. `scaler`: a training scales its loss
    (`torch.amp.GradScaler`), since float16 would lose small gradients.
    """

    dtype: str
    lists: Lists = "cuda"
    scaler: bool = False


@dataclass(frozen=True)
class Execution:
    """`autocast` is None where every op runs in the dtype of its inputs.

    `checkpointing`: a training runs the forward pass of each block (`checkpointing.blocks_of`) again in its backward
    pass. `accumulate`: its optimizer runs once in so many batches, over the sum of their gradients.
    """

    autocast: Autocast | None = None
    checkpointing: bool = False
    accumulate: int = 1


EAGER = Execution()
"""As PyTorch runs a model where nobody says anything."""
