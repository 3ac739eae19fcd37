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


COMPILED_DISPATCH = 0.5
"""Generated code calls kernels one after the other, without autograd or views between them: taken to be half of the
work of an eager op, which no published row tells apart."""


@dataclass(frozen=True)
class Execution:
    """`autocast` is None where every op runs in the dtype of its inputs.

    `checkpointing`: a training runs the forward pass of each block (`checkpointing.blocks_of`) again in its backward
    pass. `accumulate`: its optimizer runs once in so many batches, over the sum of their gradients. `compiled`: the
    mode of `torch.compile` ("default", "reduce-overhead"), None where it is eager; `graphs`: whether the device replays
    CUDA graphs in the latter.
    """

    autocast: Autocast | None = None
    checkpointing: bool = False
    accumulate: int = 1
    compiled: str | None = None
    graphs: bool = True

    @property
    def dispatch(self) -> float:
        """What the host does for a kernel, over what it does for an op of eager PyTorch."""
        if self.compiled is None:
            return 1.0
        return 0.0 if self.compiled == "reduce-overhead" and self.graphs else COMPILED_DISPATCH


EAGER = Execution()
"""As PyTorch runs a model where nobody says anything."""
