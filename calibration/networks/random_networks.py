"""Networks made at random, to calibrate on: the kinds of ops that models are made of, in sizes that models have.

A network is named by its seed, so that a record of measurements needs no weights and can be resumed. No benchmark
family is built here: widths, depths, blocks and resolutions are drawn, so that accuracy on known networks is accuracy
on networks never seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from calibration.networks.random_images import convolutional
from calibration.networks.random_sequences import mixer, perceptron, recurrent, transformer
from estimator.lifecycle.scenario import OPTIMIZER_NAMES

GENERATOR = 7
"""Raised whenever a seed means another network or is traced to other ops: records name it."""


@dataclass(frozen=True)
class Network:
    """A module and the arguments of its `forward`, on the device that was asked for."""

    family: str
    optimizer: str | None
    """The optimizer of a training step; None for a forward pass alone."""
    dtype: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        """The first dimension of the first input."""
        return int(self.args[0].shape[0])


_FAMILIES: tuple[tuple[str, float, Callable[[random.Random], tuple[nn.Module, tuple[Tensor, ...]]]], ...] = (
    ("convolutional", 0.52, convolutional),
    ("transformer", 0.25, transformer),
    ("perceptron", 0.10, perceptron),
    ("recurrent", 0.07, recurrent),
    ("mixer", 0.06, mixer),
)


_CHANNELS_LAST = 0.2
"""The share of networks on pictures with their channels last, of those that may have them so."""


def _may_be_last(module: nn.Module, optimizer: str | None) -> bool:
    """No training step: the backward pass of some convolutions with channels last writes beyond its memory in torch
    2.13 on a CPU (20 filters of 1x1 with stride 2 on (1, 3, 240, 240), say), and the process dies. No group norm: it
    is not traced as a CPU runs it.
    """
    return optimizer is None and not any(isinstance(part, nn.GroupNorm) for part in module.modules())


_DRAWN = 1 << 20
"""Elements that are drawn of a weight, which repeats them where it is larger: no kernel notices, and it takes a fifth
of the time."""


def _draw_normal(t: Tensor, scale: float, generator: torch.Generator) -> None:
    """Fill a weight with normal numbers of standard deviation `scale`."""
    if t.numel() <= _DRAWN or not t.is_contiguous():
        t.normal_(0, scale, generator=generator)
        return
    first, *others = torch.split(t.view(-1), _DRAWN)
    first.normal_(0, scale, generator=generator)
    for part in others:
        part.copy_(first[: part.numel()])


def _filled(t: Tensor, device: str, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Data for a meta tensor: small normal numbers (0 and denormals are slower or faster), token 0 upwards."""
    if t.dtype.is_floating_point:
        return torch.empty_like(t, device=device, dtype=dtype).normal_(0, 0.5, generator=generator)
    most = 2 if t.dtype == torch.bool else 100
    return torch.randint(0, most, t.shape, generator=generator, device=device).to(t.dtype)


def drawn(seed: int, dtypes: Sequence[str] = ("float32",), batches: Sequence[int] = (1,)) -> Network:
    """The network named by `seed`, on meta tensors: it can be traced, and costs nothing.

    Its dtype is one of `dtypes`, its batch is multiplied by one of `batches`.
    """
    r = random.Random(seed)
    family, _, make = r.choices(_FAMILIES, [weight for _, weight, _ in _FAMILIES])[0]
    optimizer, dtype = r.choice([None, None, None, None, *OPTIMIZER_NAMES]), r.choice(dtypes)
    with torch.device("meta"):
        module, args = make(r)
        times = r.choice(batches)
        args = tuple(torch.cat([t] * times) for t in args)
        if family == "convolutional" and r.random() < _CHANNELS_LAST and _may_be_last(module, optimizer):
            args = tuple(t.contiguous(memory_format=torch.channels_last) for t in args)
    return Network(family, optimizer, dtype, module, args)


def with_data(network: Network, device: str, seed: int = 0) -> Network:
    """`network` (on meta) with weights and inputs on `device` ("cpu", "cuda:0"), floating ones in its dtype."""
    generator, dtype = torch.Generator(device).manual_seed(seed), getattr(torch, network.dtype)
    module = network.module.to(dtype).to_empty(device=device)
    with torch.no_grad():
        for name, t in [*module.named_parameters(), *module.named_buffers()]:
            if not t.dtype.is_floating_point:
                t.zero_()
            elif name.endswith(("running_mean", "bias")):
                t.fill_(0.01)
            elif t.dim() < 2:
                t.fill_(1.0)
            else:
                _draw_normal(t, (1 / max(1, t[0].numel())) ** 0.5, generator)

    def made(value: Any) -> Any:
        return _filled(value, device, dtype, generator) if isinstance(value, Tensor) else value

    args, kwargs = tree_map(made, (network.args, dict(network.kwargs)))
    return replace(network, module=module, args=args, kwargs=kwargs)
