"""Cases and their bars, on held-out predictions made by hand."""

import math
from dataclasses import replace

import pytest

from calibration.proof.bars import Asked, reached, table
from calibration.published.left_out import HeldOut
from calibration.published.rows import Row
from estimator.workload.ops import Workload
from tests.estimator.profiles import op


def _held(device, network, measured, predicted, **changes):
    """(joules, seconds) measured and predicted of a network on a device."""
    work = Workload(ops=(op(flops=10**9),), batch_size=1, module_calls=0)
    row = Row(device, f"torchvision/{network}", "inference", "float32", work, 1, *measured, None, 0.0, True)
    return HeldOut(replace(row, **changes), device, *predicted)


ALL = Asked("all", "time", "device", 0.2, lambda row: True, worst=0.4)


def test_errors_biases_and_the_constant_by_hand():
    held = [_held("a10", "alpha", (1.0, 1.0), (1.0, 1.1)), _held("a10", "beta", (1.0, 2.0), (1.0, 1.8))]
    held.append(_held("nvidia-l4", "alpha", (1.0, 4.0), (1.0, 6.0)))
    a10, l4 = reached(ALL, held)
    assert (a10.n, l4.n) == (2, 1)
    assert a10.mean_ape == pytest.approx(0.1) and l4.mean_ape == pytest.approx(0.5)
    assert a10.bias == pytest.approx(math.sqrt(1.1 * 0.9))
    assert l4.coverage_90 is None  # too few rows for a share
    text = table([ALL], [a10, l4])
    assert "missed" in text and "30.0%" in text  # the mean of 0.1 and 0.5 is above 0.2, and the worst above 0.4
    assert max(map(len, text.splitlines())) <= 80


def test_power_is_energy_over_time():
    asked = replace(ALL, of="power", left_out="network")
    (line,) = reached(asked, [_held("a10", "alpha", (100.0, 1.0), (150.0, 2.0))])
    assert line.mean_ape == pytest.approx(0.25)  # 75 W for 100 W
    assert line.constant is None  # no other network to take one from


def test_a_power_limit_is_judged_by_the_ratio_to_the_boards_own():
    asked = replace(ALL, of="energy", relative=True)
    top = _held("nvidia-v100-pcie-32gb", "alpha", (100.0, 1.0), (200.0, 1.0), limit_w=250.0)
    low = _held("nvidia-v100-pcie-32gb", "alpha", (80.0, 1.5), (152.0, 1.5), limit_w=100.0)
    (line,) = reached(asked, [top, low])
    # measured 80 / 100, predicted 152 / 200: the level, twice too high, does not count
    assert line.n == 1
    assert line.mean_ape == pytest.approx(0.05)
    assert line.constant == pytest.approx(0.25)  # no change at all, over 0.8
