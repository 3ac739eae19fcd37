"""Table 6 of Gitzel et al. 2023: eighteen networks, wide against deep, measured on an i9-9900K with an RTX 2080 Ti.

The measured column grows with the parameters at a fixed depth (300 layers of 30 nodes cost as much as 30 layers of
300). Only a CPU does that at these sizes: 2.6 million parameters are 10 MB, read and multiplied many times a step,
which its cores and caches feel, while a GPU of 13 TFLOP/s and 616 GB/s is through with them in microseconds and waits
for its launches whatever the width. So the CPU's prediction has to rank the column right, and of the GPU's only what is
physically certain is asserted: at equal width deeper costs more.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from estimator.footprint import estimate
from estimator.lifecycle.scenario import Scenario
from tests.estimator.networks import TABLE_6, TABLE_6_INPUT, table_6

MEASURED_KWH = [row[3] for row in TABLE_6]


def _predicted(hardware: str) -> list[float]:
    scenario = Scenario(samples=100_000, epochs=10, hardware=hardware, inputs=(str(TABLE_6_INPUT),))
    return [estimate(table_6(layers, size), scenario).training.stage.energy_kwh for layers, size, _, _ in TABLE_6]


@pytest.fixture(scope="module")
def cpu():
    return _predicted("i9-9900k")


@pytest.fixture(scope="module")
def gpu():
    return _predicted("rtx-2080-ti")


def _rank(predicted) -> float:
    return float(spearmanr(predicted, MEASURED_KWH).statistic)


def _best_linear_mix() -> float:
    """The best rank correlation that any weighted sum of layers and parameters reaches (fitted to the column itself).

    One layer weighs about 6,000 parameters then, as in a least-squares fit; at 10,000 it is 0.93.
    """
    layers, parameters = (np.array([row[i] for row in TABLE_6], dtype=float) for i in (0, 2))
    return max(_rank(layers * weight + parameters) for weight in np.geomspace(1, 1e6, 2000))


def test_rank_correlation_with_the_measured_column(cpu, gpu, record_property):
    found = {
        "i9-9900K": _rank(cpu),
        "RTX 2080 Ti": _rank(gpu),
        "parameters alone": _rank([row[2] for row in TABLE_6]),
        "layers alone": _rank([row[0] for row in TABLE_6]),
        "best mix of layers and parameters": _best_linear_mix(),
    }
    for name, correlation in found.items():
        record_property(name, correlation)
        print(f"rank correlation with Table 6's measured energy, {name}: {correlation:.3f}")
    assert found["parameters alone"] == pytest.approx(0.23, abs=0.01)
    assert found["best mix of layers and parameters"] > 0.99
    assert found["i9-9900K"] >= 0.85


@pytest.mark.parametrize("width", [10, 20, 30, 100, 200, 300])
def test_deeper_costs_more_at_equal_width(cpu, gpu, width):
    for predicted in (cpu, gpu):
        by_depth = [
            energy for _, energy in sorted((r[0], e) for r, e in zip(TABLE_6, predicted, strict=True) if r[1] == width)
        ]
        assert len(by_depth) == 3
        assert by_depth == sorted(by_depth)
        assert by_depth[0] < by_depth[-1]


def test_wider_costs_more_at_equal_depth(cpu):
    for depth in {row[0] for row in TABLE_6}:
        by_width = [
            energy for _, energy in sorted((r[1], e) for r, e in zip(TABLE_6, cpu, strict=True) if r[0] == depth)
        ]
        assert by_width == sorted(by_width)
