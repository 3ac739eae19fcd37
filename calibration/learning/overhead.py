"""The share of training that is not the forward pass, over depth and width, as Figures 8 and 9 of the paper show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from calibration.measuring.running import workload_of
from calibration.networks.known_networks import Known, perceptron
from estimator.energy.pricing import price
from estimator.hardware.profile import HardwareProfile
from estimator.lifecycle.stages import PAPER_OVERHEAD

DEPTHS, WIDTHS = (10, 50, 90, 130, 170), (25, 100)
"""Hidden layers, and their units: the ranges of Figures 8 and 9 (Gitzel et al. 2023)."""

_INPUTS, _BATCH = 100, 32


@dataclass(frozen=True)
class Overhead:
    """Share of a training step's time that is not its forward pass; from 0 to 1."""

    depth: int
    width: int
    share: float


def overhead_curve(profile: HardwareProfile) -> Iterator[Overhead]:
    """What `profile` predicts over `DEPTHS` and `WIDTHS`: perceptrons with ReLU, Adam, 32 samples a step."""
    for width in WIDTHS:
        for depth in DEPTHS:
            made = perceptron(_INPUTS, (width,) * depth, _BATCH)
            step = price(workload_of(Known("", "perceptron", "adam", made).network()), profile.model)
            yield Overhead(depth, width, 1 - step.phase_duration_s["forward"] / step.duration_s.value)


def overhead_lines(profile: HardwareProfile) -> Iterator[str]:
    """The curve in text, beside the paper's constant."""
    curve = list(overhead_curve(profile))
    yield f"Share of training beyond its forward pass (the paper takes {PAPER_OVERHEAD:.0%}):"
    yield "  depth      " + "".join(f"{depth:>7}" for depth in DEPTHS)
    for width in WIDTHS:
        yield f"  width {width:<5}" + "".join(f"{o.share:>7.0%}" for o in curve if o.width == width)
