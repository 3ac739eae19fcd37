"""The hardware profile: what a machine's joules and seconds are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from estimator.columns import DTYPES, OP_CLASSES, Floats, OpClass
from estimator.op_times import OpTimes

ProfileStatus = Literal["calibrated", "published", "datasheet", "generic"]
Rate = Literal["float32", "winograd", "tf32", "bfloat16", "float16", "vector"]
CONVOLUTIONS: tuple[OpClass, ...] = ("conv", "winograd")
PRODUCTS: tuple[OpClass, ...] = ("conv", "winograd", "matmul", "attention")
"""Classes of ops that are products and sums, and of these the convolutions: what matrix units are for."""

TILE = 64
"""Rows and columns of a result that a multiprocessor works on at a time: what cuBLAS and cuDNN take for small ones."""


@dataclass(frozen=True)
class HardwareProfile:
    """A machine as the energy model sees it. SI units; rates are sustained ones: peak times learned efficiency.

    On a device that runs asynchronously (a GPU) the host launches ahead: a phase lasts as long as the slower of the
    two. `active_power_w` is what it draws beyond `static_power_w` while a kernel keeps it busy, whatever the kernel
    does. Grouped convolutions reach `grouped_bandwidth` of the bandwidth, the backward pass `backward_efficiency` of
    all rates. Ops that move up to `cache_bytes` find them in the last-level cache, where traffic costs `cached_share`
    of what it costs in memory. `fresh_s_per_byte` is what newly mapped memory takes at first touch. Half a wave of
    tiles (`half_wave` elements of a result) is lost per contraction. `energy_spread` and `duration_spread` are standard
    deviations of log(measured / predicted), `training_spread` what a training step adds to them, and `launch_spread`
    what the host's launch cost adds as far as a workload waits for it. `host_share` is what the rest of the node
    draws, as a share of the device's own energy. The device slows down where it would draw more than `power_limit_w`.
    A calibrated machine has `op_times` in place of the roofline, `class_power_w` (watts beyond the other terms while
    ops of a class run), the `torch_device` that was calibrated, the `torch_version` that it ran, and its `pace_s` (see
    `estimator.profile_file`).
    """

    name: str
    title: str
    status: ProfileStatus
    asynchronous: bool
    flop_per_s: Mapping[tuple[OpClass, Rate], float]
    energy_per_flop_j: Mapping[Rate, float]
    bandwidth_bytes_per_s: float
    grouped_bandwidth: float
    backward_efficiency: float
    cache_bytes: float
    cached_share: float
    fresh_s_per_byte: float
    half_wave: float
    energy_per_byte_j: float
    static_power_w: float
    active_power_w: float
    power_limit_w: float
    kernel_s: float
    launch_s: float
    module_call_s: float
    tensors_per_optimizer_launch: int
    host_share: float
    host_share_source: str
    energy_spread: float
    duration_spread: float
    training_spread: float
    launch_spread: float
    memory_bytes: float | None
    clock_hz: float | None
    source: str
    op_times: OpTimes | None = None
    class_power_w: Mapping[str, float] = field(default_factory=dict)
    torch_device: str = ""
    torch_version: str = ""
    pace_s: tuple[float, ...] = ()

    def rate_of(self, op_class: OpClass, dtype: str) -> Rate:
        """Which of the machine's rates an op runs at.

        Convolutions in float32 use TF32 where there is one (PyTorch's default; matrix products do not). A dtype
        without units of its own falls back to float32.
        """
        if op_class not in PRODUCTS:
            return "vector"
        if dtype == "float32" and op_class in CONVOLUTIONS and "tf32" in self.energy_per_flop_j:
            return "tf32"
        if dtype in ("bfloat16", "float16") and dtype in self.energy_per_flop_j:
            return "bfloat16" if dtype == "bfloat16" else "float16"
        return "winograd" if op_class == "winograd" and "winograd" in self.energy_per_flop_j else "float32"

    @cached_property
    def tables(self) -> tuple[Floats, Floats]:
        """FLOP/s (infinite where arithmetic is not what an op waits for) and J/FLOP, by `OP_CLASSES` and `DTYPES`."""
        rates = [[self.rate_of(op_class, dtype) for dtype in DTYPES] for op_class in OP_CLASSES]
        speed = [[self.flop_per_s.get((c, r), math.inf) for r in of] for c, of in zip(OP_CLASSES, rates, strict=True)]
        return np.array(speed), np.array([[self.energy_per_flop_j[rate] for rate in of] for of in rates])
