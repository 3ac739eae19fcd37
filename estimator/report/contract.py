"""The JSON contract (schema version 1): what other programs read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estimator.energy.uncertainty import Interval
from estimator.footprint import Footprint
from estimator.lifecycle.stages import Stage
from estimator.workload.memory.need import Need

if TYPE_CHECKING:
    from estimator.workload.crosscheck import CrossCheck

SCHEMA_VERSION = 1


def of_interval(interval: Interval) -> dict[str, float]:
    """A value with the ends of its 90% interval."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def of_stage(stage: Stage) -> dict[str, Any]:
    """One stage of the life cycle, at the facility."""
    return {
        "energy_j": of_interval(stage.energy_j),
        "energy_kwh": stage.energy_kwh,
        "carbon_kg": stage.carbon_kg,
        "duration_s": of_interval(stage.duration_s),
        "boundary": "facility",
    }


def of_need(need: Need) -> dict[str, Any]:
    """What one device holds at the peak of a pass, and whether it has as much."""
    return {
        "bytes": need.peak.total,
        "parts": need.peak.parts(),
        "batch_size": need.batch_size,
        "fits": need.fits,
        "largest_batch_size": need.largest_batch,
    }


def to_dict(footprint: Footprint, top: int | None = None) -> dict[str, Any]:
    """The contract of `footprint`: plain dicts, lists, strings and numbers; all layers, or the `top` dearest.

    `workload` describes one sample of inference; `layers` are joules of the whole training at the facility. A stage
    that was not asked for is None.
    """
    served, step, training = footprint.inference_workload, footprint.training_workload, footprint.training
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": footprint.model.name,
            "parameters": footprint.model.parameters,
            "trainable_parameters": footprint.model.trainable_parameters,
            "layer_types": footprint.model.layer_types,
        },
        "workload": {
            "flops_per_sample": served.flops_per_sample,
            "bytes_per_sample": served.bytes_per_sample,
            "bound": served.bound,
            "ops": len(served.ops),
            "uncovered_ops": sorted({*served.uncovered_ops, *step.uncovered_ops}),
            "guesses": list(dict.fromkeys([*served.guesses, *step.guesses])),
        },
        "hardware": {"name": footprint.hardware.name, "status": footprint.hardware.status},
        "assumptions": [
            {"name": a.name, "value": a.value, "unit": a.unit, "status": a.status, "source": a.source}
            for a in footprint.assumptions
        ],
        "inference": of_stage(footprint.inference),
        "training": {
            **of_stage(training.stage),
            "forward_energy_j": training.forward_energy_j,
            "overhead_share": training.overhead_share,
            "samples": training.samples,
            "epochs": training.epochs,
        },
        "search": None if footprint.search is None else of_stage(footprint.search),
        "lifetime": None if footprint.lifetime is None else of_stage(footprint.lifetime),
        "memory": {
            "device_bytes": footprint.memory.training.capacity_bytes,
            "inference": of_need(footprint.memory.inference),
            "training": of_need(footprint.memory.training),
        },
        "layers": [
            {"name": layer.name, "type": layer.type, "energy_j": layer.energy_j, "share": layer.share}
            for layer in footprint.layers[:top]
        ],
        "warnings": [*footprint.input_warnings, *footprint.memory_warnings, *footprint.warnings],
    }


def of_cross_check(check: CrossCheck) -> dict[str, Any]:
    """`check` as plain data: FLOPs of one forward pass of one sample, by part; None for a counter that failed."""
    return {
        "unit": "FLOP (2 per multiply-accumulate)",
        "ours": dict(check.ours),
        "fvcore": None if check.fvcore is None else dict(check.fvcore),
        "torch": None if check.torch is None else dict(check.torch),
        "difference_from_fvcore": check.difference_from_fvcore,
        "notes": list(check.notes),
    }
