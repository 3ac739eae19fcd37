"""The assumed loss as a module, so that it is traced once for outputs of a kind, like a model's own parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from estimator.workload.loss import assumed_loss


class Loss(nn.Module):
    """The assumed loss of a model's output, and the seed of its backward pass."""

    def forward(self, output: Any) -> Tensor | None:
        """The loss; None where no output has a gradient."""
        loss, _ = assumed_loss(output)
        if loss is not None:
            torch.ones_like(loss)
        return loss


class Scored(Loss):
    """A model and its loss as one, for outputs that are no single tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Tensor | None:
        """The loss of the model's output."""
        return super().forward(self.model(*args, **kwargs))
