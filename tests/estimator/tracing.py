"""Short ways to trace a module in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from estimator.workload.execution.settings import EAGER, Execution
from estimator.workload.ops import Op, Workload
from estimator.workload.trace import TraceInputs, trace

BYTES = 4
"""Of one float32."""


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def forward(
    module: nn.Module, *args: Tensor, dtype: str = "float32", execution: Execution = EAGER, **kwargs: Tensor
) -> Workload:
    """The ops of one forward pass."""
    return trace(module, TraceInputs(args, kwargs, 1), dtype=dtype, execution=execution)


def step(module: nn.Module, *args: Tensor, optimizer: str = "sgd", **options: Any) -> Workload:
    """The ops of one training step."""
    return trace(module, TraceInputs(args, {}, 1), optimizer=optimizer, **options)


def named(workload: Workload, name: str) -> list[Op]:
    return [op for op in workload.ops if op.name == name]


def one(workload: Workload, name: str) -> Op:
    (op,) = named(workload, name)
    return op


class Calls(nn.Module):
    """A module whose `forward` is a function given in the test, called with the module and the inputs."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args: Tensor) -> Any:
        return self.function(self, *args)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()
