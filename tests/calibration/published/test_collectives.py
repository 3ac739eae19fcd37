"""The constants of collectives are found again in times that obey them."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from calibration.published.collectives import Timed, fit, predicted
from estimator.energy.collectives import HALF_BYTES, HOP_S, REACHED, START_S, collective_s
from estimator.hardware.links import links_of

TRUTH = np.array([START_S, HOP_S, REACHED, HALF_BYTES])


def test_the_equation_is_the_products_and_the_fit_finds_its_truth():
    rows = [
        Timed("nvidia-h100-sxm", kind, 2.0**power, devices, 1.0)
        for kind, power, devices in product(("all_reduce", "all_gather"), range(10, 30, 2), (2, 8))
    ]
    link = links_of("nvidia-h100-sxm", "gpu")[0]
    ours = [collective_s(row.kind, row.size_bytes, row.devices, link) for row in rows]
    assert predicted(TRUTH, rows).tolist() == pytest.approx(ours)
    found = fit([replace(row, seconds=seconds) for row, seconds in zip(rows, ours, strict=True)])
    assert found.tolist() == pytest.approx(TRUTH.tolist(), rel=1e-3)
