"""How many ops are priced a second."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figure import Figure, interleaved, of_samples
from benchmarks.models import on_meta
from estimator.energy.pricing import price
from estimator.hardware import catalogue
from estimator.hardware.datasheet import from_datasheet
from estimator.workload.trace import TraceInputs, trace


def measure() -> Iterator[Figure]:
    module, x = on_meta("resnet50")
    step = trace(module, TraceInputs((x,)), optimizer="adam")
    profile = from_datasheet(catalogue.find("a100-sxm-80gb"))
    (times,) = interleaved([lambda: price(step, profile.model)], 100)
    note = f"a training step of resnet50: {len(step.ops)} ops"
    yield of_samples("ops priced", [len(step.ops) / t for t in times], "ops/s", note=note)
