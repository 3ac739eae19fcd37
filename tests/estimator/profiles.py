"""Hardware profiles of round numbers, for hand arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from estimator.catalogue import find
from estimator.columns import OP_CLASSES
from estimator.datasheet import from_datasheet
from estimator.hardware import HardwareProfile
from estimator.workload import Op, Phase, Workload

RATES = ("float32", "vector")


def profile(**changes: Any) -> HardwareProfile:
    """A CPU of 1 TFLOP/s, 100 GB/s, 1 pJ/FLOP (2 pJ outside of matrix products), 100 pJ/B, 50 W, 1 us an op."""
    base = replace(
        from_datasheet(find("i9-9900k")),
        asynchronous=False,
        flop_per_s={(op_class, "float32"): 1e12 for op_class in OP_CLASSES if op_class != "other"},
        energy_per_flop_j={"float32": 1e-12, "vector": 2e-12},
        bandwidth_bytes_per_s=1e11,
        grouped_bandwidth=1.0,
        backward_efficiency=1.0,
        cache_bytes=0.0,
        cached_share=1.0,
        fresh_s_per_byte=0.0,
        half_wave=0.0,
        energy_per_byte_j=1e-10,
        static_power_w=50.0,
        active_power_w=0.0,
        power_limit_w=1e9,
        launch_spread=0.0,
        kernel_s=0.0,
        launch_s=1e-6,
        module_call_s=0.0,
        tensors_per_optimizer_launch=1,
        host_share=0.25,
        energy_spread=0.0,
        duration_spread=0.0,
        training_spread=0.0,
    )
    return replace(base, **changes)


def op(
    flops: float = 0,
    moved: float = 0,
    *,
    kind: str = "matmul",
    phase: Phase = "forward",
    layer: str = "",
    launches: int = 1,
) -> Op:
    return Op(phase, "op", kind, int(flops), int(moved), 0, "float32", (), (), layer, "Layer", launches)  # type: ignore[arg-type]


def work(*ops: Op, batch_size: int = 1, module_calls: int = 0) -> Workload:
    return Workload(ops, batch_size, module_calls)
