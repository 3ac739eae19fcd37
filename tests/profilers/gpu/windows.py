"""Windows of simulated GPUs, their readings, and the joules that were really drawn in them."""

from __future__ import annotations

import pytest

from profilers.gpu.nvml import NvmlMeter
from profilers.reading import Reading
from tests.profilers.simulation import Clock, SimulatedGpu, SimulatedNvml, sampled

BUSY = ((0.0, 100.0), (1003.0, 400.0), (1008.0, 100.0))
"""100 W, 400 W for five seconds, 100 W again. The simulated clock starts at 1000 s."""


def meter(clock: Clock, *gpus: SimulatedGpu, visible: str | None = None) -> NvmlMeter:
    return NvmlMeter(SimulatedNvml(gpus, clock), visible, clock, clock.advance)


def read(gpu: SimulatedGpu, seconds: float = 10.0, *after: tuple[float, float]) -> tuple[Reading, float]:
    """The reading of a window, and the joules really drawn in it. `after`: watts from so many seconds after its end
    (and a microsecond, so that what the simulated counter has shown stays true)."""
    clock = Clock()
    take = meter(clock, gpu).prepare()
    ended_s = sampled(take, clock, seconds)
    gpu.steps = (*gpu.steps, *((ended_s + 1e-6 + since_s, watts) for since_s, watts in after))
    (reading,) = take.readings()
    return reading, gpu.energy_j(ended_s) - gpu.energy_j(ended_s - reading.duration_s)


def is_right(reading: Reading, truth_j: float) -> None:
    """Measured, within 1% of the truth, and no farther from it than it says."""
    assert reading.status == "measured"
    assert reading.energy_j == pytest.approx(truth_j, rel=0.01)
    assert reading.uncertainty_j is not None
    assert abs(truth_j - reading.energy_j) <= reading.uncertainty_j + 0.001 * truth_j
