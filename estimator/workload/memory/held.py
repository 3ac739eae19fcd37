"""What a model holds in memory before and after every pass: its weights, and what is trained of them."""

from __future__ import annotations

from itertools import chain

import numpy as np
import torch
from torch import nn

from estimator.sources.stored import stored_bytes
from estimator.workload.memory.lifetimes import Lifetimes
from estimator.workload.memory.peak import Allocations, StepMemory
from estimator.workload.optimizers import OPTIMIZERS


def allocations(
    module: nn.Module,
    trainable: frozenset[str] | None,
    dtype: torch.dtype,
    optimizer: str | None,
    lifetimes: Lifetimes,
    accumulate: int = 1,
) -> Allocations:
    """All that a pass of `module` with these `lifetimes` holds; tied parameters are held once.

    Floating parameters and buffers are of `dtype`, and so are gradients and states; `trainable` are dotted names, None
    in inference. A gradient is that of `accumulate` batches.
    """
    packed = {id(layer.weight): size for layer in module.modules() if (size := stored_bytes(layer)) is not None}
    sizes: dict[int, int] = {}
    for t in chain(module.parameters(), module.buffers()):
        itemsize = dtype.itemsize if t.dtype.is_floating_point else t.dtype.itemsize
        sizes[id(t)] = packed.get(id(t), t.numel() * itemsize)
    trained = {id(p): p.numel() * dtype.itemsize for n, p in module.named_parameters() if n in (trainable or ())}
    unpacked = max((p.numel() for p in module.parameters() if id(p) in packed), default=0) * dtype.itemsize
    step = OPTIMIZERS[optimizer] if optimizer else None
    return Allocations(
        np.array(list(sizes.values()), np.int64),
        np.array(list(trained.values()), np.int64),
        unpacked,
        StepMemory(step.states, step.temporaries, step.together) if step else None,
        lifetimes,
        accumulated=accumulate > 1,
    )
