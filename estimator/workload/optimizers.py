"""The optimizer's step, per parameter: FLOPs, memory passes and kernels, without tracing it.

Passes are those of PyTorch's default implementation (of `fused=True`: below), torch/optim/{sgd,adam,adamw}.py: every
operation reads and writes whole tensors. Counted by hand from its operations:

    sgd        p += -lr g                                     reads 2, writes 1
    momentum   v *= m; v += g; p += -lr v                     reads 5, writes 3
    adam       m.lerp_(g); v *= b; v += (1-b) g g; sqrt(v);   reads 11, writes 7
               / bias; + eps; p += m / denominator
    adamw      p *= 1 - lr wd; then adam                      reads 12, writes 8
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from estimator.workload.ops import Op

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class OptimizerStep:
    """Cost of one step per parameter element; `launches` is the number of operations a parameter tensor."""

    flops: int
    reads: int
    writes: int
    launches: int
    states: int  # tensors of the parameter's size kept between steps
    temporaries: int  # tensors of the parameter's size made anew in each step
    together: int = 0  # of all parameters' sizes, held at once where the step is over lists of them (foreach: sqrt(v))


OPTIMIZERS: Mapping[str, OptimizerStep] = {
    "sgd": OptimizerStep(flops=2, reads=2, writes=1, launches=1, states=0, temporaries=0),
    "momentum": OptimizerStep(flops=5, reads=5, writes=3, launches=3, states=1, temporaries=0),
    "adam": OptimizerStep(flops=13, reads=11, writes=7, launches=7, states=2, temporaries=2, together=1),
    "adamw": OptimizerStep(flops=14, reads=12, writes=8, launches=8, states=2, temporaries=2, together=1),
    "sgd_fused": OptimizerStep(flops=2, reads=2, writes=1, launches=1, states=0, temporaries=0),
    "momentum_fused": OptimizerStep(flops=5, reads=3, writes=2, launches=1, states=1, temporaries=0),
    "adam_fused": OptimizerStep(flops=13, reads=4, writes=3, launches=1, states=2, temporaries=0),
    "adamw_fused": OptimizerStep(flops=14, reads=4, writes=3, launches=1, states=2, temporaries=0),
}
"""By the names of `--optimizer`, with "_fused" where all of a step is one kernel (`fused=True`: parameter, gradient and
states are read once, parameter and states written once). FLOPs: an add, multiply, divide or square root counts 1."""


def optimizer_ops(module: nn.Module, trainable: frozenset[str], optimizer: str, dtype: torch.dtype) -> Iterator[Op]:
    """One op per trainable parameter of `module`, tied parameters once.

    `trainable` holds the dotted names of the parameters that are not frozen; `dtype` is the training dtype
    (gradients and states are kept in it too).
    """
    step, seen = OPTIMIZERS[optimizer], set()
    for path, layer in module.named_modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if id(parameter) in seen or f"{path}.{name}".lstrip(".") not in trainable:
                continue
            seen.add(id(parameter))
            size, shapes = parameter.numel(), (tuple(parameter.shape),)
            yield Op(
                "optimizer",
                optimizer,
                "optimizer",
                step.flops * size,
                step.reads * size * dtype.itemsize,
                step.writes * size * dtype.itemsize,
                str(dtype).removeprefix("torch."),
                shapes,
                shapes,
                path,
                type(layer).__name__,
                step.launches,
            )
