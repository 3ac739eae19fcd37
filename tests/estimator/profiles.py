"""Machines of round numbers, for hand arithmetic."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from estimator.energy.columns import OP_CLASSES
from estimator.energy.model import EnergyModel, Launching, Memory, PowerDraw, Rates, Spreads
from estimator.hardware.catalogue import find
from estimator.hardware.datasheet import from_datasheet
from estimator.hardware.profile import HardwareProfile, HostShare
from estimator.workload.ops import Op, Phase, Workload

RATES = ("float32", "vector")

ROUND = EnergyModel(
    asynchronous=False,
    rates=Rates(
        flop_per_s={(op_class, "float32"): 1e12 for op_class in OP_CLASSES if op_class != "other"},
        energy_per_flop_j={"float32": 1e-12, "vector": 2e-12},
    ),
    memory=Memory(bandwidth_bytes_per_s=1e11, energy_per_byte_j=1e-10),
    power=PowerDraw(static_w=50.0, active_w=0.0, limit_w=1e9),
    launching=Launching(kernel_s=0.0, launch_s=1e-6, module_call_s=0.0),
    spreads=Spreads(energy=0.0, duration=0.0, training=0.0, launch=0.0),
)
"""A CPU of 1 TFLOP/s, 100 GB/s, 1 pJ/FLOP (2 pJ outside of matrix products), 100 pJ/B, 50 W, 1 us an op."""


def changed(model: EnergyModel, **changes: Any) -> EnergyModel:
    """`model` with other values of its own fields, or of its parts' fields."""
    own = {name: changes.pop(name) for name in ("asynchronous", "op_times", "spreads") if name in changes}
    for part in ("rates", "memory", "power", "launching"):
        of_part = getattr(model, part)
        given = {field.name: changes.pop(field.name) for field in fields(of_part) if field.name in changes}
        own[part] = replace(of_part, **given)
    assert not changes, f"no part of an energy model has {sorted(changes)}"
    return replace(model, **own)


def model(**changes: Any) -> EnergyModel:
    """`ROUND`, with other values of its parts' fields."""
    return changed(ROUND, **changes)


def profile(**changes: Any) -> HardwareProfile:
    """The profile of a machine whose energy model is `model(**changes)`; the rest of its node draws a quarter."""
    return replace(from_datasheet(find("i9-9900k")), model=model(**changes), host=HostShare(0.25, "stated by the test"))


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
