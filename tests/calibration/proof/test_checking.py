"""Rounds over known networks: what does not run on the device is said and left out, the others are measured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from calibration.networks.known_networks import Known, perceptron
from calibration.proof.checking import measure_round, to_check


class _Picky(nn.Module):
    """It can be traced, and runs nowhere."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            raise RuntimeError("no kernel image is available\nfor this device")
        return x + 1


def test_a_known_network_that_does_not_run_here_is_left_out(capsys):
    picky = Known("picky", "none", None, lambda: (_Picky(), (torch.empty(2, 3, device="meta"),)))
    runs = Known("thin", "perceptron", None, perceptron(4, (8, 2), 3))
    checks = to_check([picky, runs])
    for _ in range(2):
        measure_round(checks, "cpu")
    assert [check.known.name for check in checks] == ["thin"] and len(checks[0].seconds) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["picky does not run on cpu in float32: no kernel image is available"]


def test_repeatability_by_hand():
    (check,) = to_check([Known("thin", "perceptron", None, perceptron(4, (8, 2), 3))])
    assert check.repeatability is None
    check.seconds = [1.0, 3.0, 2.0, 4.0, 3.0]  # medians: 2 of 1, 2, 3; 3.5 of 3, 4; 3 of all
    assert check.repeatability == pytest.approx(0.5)
