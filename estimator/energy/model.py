"""What one machine's seconds and joules are made of, in parts that can be exchanged one by one.

SI units; rates are sustained ones: peak times learned efficiency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimator.energy.columns import DTYPES, OP_CLASSES, Floats, OpClass
from estimator.energy.governor import WAITING, Governor
from estimator.energy.op_times import OpTimes

Rate = Literal["float32", "float32_winograd", "tf32", "bfloat16", "float16", "vector"]
"""What arithmetic runs at. "float32_winograd": float32 FLOPs of an algorithm that makes fewer multiplications."""

CONVOLUTIONS: tuple[OpClass, ...] = ("conv", "winograd")
PRODUCTS: tuple[OpClass, ...] = ("conv", "winograd", "matmul", "attention")
"""Classes of ops that are products and sums, and of these the convolutions: what matrix units are for."""

TILE = 64
"""Rows and columns of a result that a multiprocessor works on at a time: what cuBLAS and cuDNN take for small ones."""


@dataclass(frozen=True)
class Rates:
    """Arithmetic: FLOP/s by class of op and rate, J/FLOP by rate.

    Convolutions reach `backward_efficiency` of their rates, the memory's too, in the backward pass. Half a wave of
    tiles (`half_wave` elements of a result) is lost per contraction. Exponentials of a softmax are computed at
    `exponentials_per_s`, on units of their own, between the products of a fused attention, whose blocks of threads take
    `unit_s` each to start and to end (over all multiprocessors). To fill and to drain the pipeline of an inner loop
    takes as long as `fill_blocks` of its blocks. Convolutions at the rates of `relaying` put `relaid_share` of
    what they work on channels last first, and back.
    """

    flop_per_s: Mapping[tuple[OpClass, Rate], float]
    energy_per_flop_j: Mapping[Rate, float]
    backward_efficiency: float = 1.0
    half_wave: float = 0.0
    exponentials_per_s: float = math.inf
    fill_blocks: float = 0.0
    unit_s: float = 0.0
    tf32: tuple[OpClass, ...] = CONVOLUTIONS
    relaying: frozenset[Rate] = frozenset()
    relaid_share: float = 0.0

    def rate_of(self, op_class: OpClass, dtype: str) -> Rate:
        """Which of the rates an op runs at.

        Classes of `tf32` use it in float32 where there is one: convolutions alone by PyTorch's default. A dtype without
        units of its own falls back to float32.
        """
        if op_class not in PRODUCTS:
            return "vector"
        if dtype == "float32" and op_class in self.tf32 and "tf32" in self.energy_per_flop_j:
            return "tf32"
        if dtype in ("bfloat16", "float16") and dtype in self.energy_per_flop_j:
            return "bfloat16" if dtype == "bfloat16" else "float16"
        fewer = op_class == "winograd" and "float32_winograd" in self.energy_per_flop_j
        return "float32_winograd" if fewer else "float32"

    @cached_property
    def relays(self) -> NDArray[np.bool_]:
        """Whether an op puts channels last, by `OP_CLASSES` and `DTYPES`."""
        return np.array([[self.rate_of(c, dtype) in self.relaying for dtype in DTYPES] for c in OP_CLASSES])

    @cached_property
    def tables(self) -> tuple[Floats, Floats]:
        """FLOP/s (infinite where arithmetic is not what an op waits for) and J/FLOP, by `OP_CLASSES` and `DTYPES`."""
        rates = [[self.rate_of(op_class, dtype) for dtype in DTYPES] for op_class in OP_CLASSES]
        speed = [[self.flop_per_s.get((c, r), math.inf) for r in of] for c, of in zip(OP_CLASSES, rates, strict=True)]
        return np.array(speed), np.array([[self.energy_per_flop_j[rate] for rate in of] for of in rates])


@dataclass(frozen=True)
class Memory:
    """Traffic. Grouped convolutions reach `grouped_bandwidth` of the bandwidth, norms `norm_bandwidth`, and gradients
    of norms and softmaxes `norm_backward_bandwidth`: they read rows more than once.

    Ops that move up to `cache_bytes` find them in the last-level cache, where traffic costs `cached_share` of what it
    costs in memory. `fresh_s_per_byte` is what newly mapped memory takes at first touch.
    """

    bandwidth_bytes_per_s: float
    energy_per_byte_j: float
    grouped_bandwidth: float = 1.0
    norm_bandwidth: float = 1.0
    norm_backward_bandwidth: float = 1.0
    cache_bytes: float = 0.0
    cached_share: float = 1.0
    fresh_s_per_byte: float = 0.0


@dataclass(frozen=True)
class PowerDraw:
    """Watts beside those of arithmetic and traffic. Where it would draw more than `limit_w`, `governor` slows it down.

    `active_w` is what it draws beyond `static_w` while a kernel keeps it busy, whatever the kernel does; `class_w` what
    it draws beyond that while ops of a class run (calibrated machines).
    """

    static_w: float
    active_w: float
    limit_w: float
    class_w: Mapping[str, float] = field(default_factory=dict)
    governor: Governor = WAITING


@dataclass(frozen=True)
class Launching:
    """What it takes to start ops: `kernel_s` on the device; a launch and a call of a module on its host."""

    kernel_s: float
    launch_s: float
    module_call_s: float
    tensors_per_optimizer_launch: int = 1


@dataclass(frozen=True)
class Spreads:
    """How far predictions are not known: standard deviations of log(measured / predicted).

    `training` is what a training step adds to the others, and `launch` what the host's launch cost adds as far as a
    workload waits for it.
    """

    energy: float
    duration: float
    training: float
    launch: float


@dataclass(frozen=True)
class EnergyModel:
    """A machine as the energy model sees it (the second model will exchange parts of it, not the whole).

    On a device that runs asynchronously (a GPU) the host launches ahead: a phase lasts as long as the slower of the
    two. A calibrated machine has `op_times` in place of the roofline.
    """

    asynchronous: bool
    rates: Rates
    memory: Memory
    power: PowerDraw
    launching: Launching
    spreads: Spreads
    op_times: OpTimes | None = None
