"""The power fit finds what a simulated, noise-free device draws, and no term of it is taken for another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from calibration.learning.learn import Measured
from calibration.learning.power import learn_power
from estimator.energy.columns import OP_CLASSES, columns_of
from estimator.energy.model import EnergyModel
from estimator.hardware.catalogue import find
from estimator.hardware.datasheet import from_datasheet
from estimator.workload.trace import TraceInputs, trace
from tests.calibration.learning.simulated_machine import drawn, op_seconds, samples

FACTORS = {"static": 1.1, "active": 0.9, "byte": 1.2, "float32": 1.3, "float32_winograd": 0.8, "vector": 1.0}
"""What the simulated device draws, as factors on the terms of its spec sheet."""


def _joules(workload, busy, total_s, base: EnergyModel, factors, class_w=None) -> float:
    """The law by hand: static and active watts, joules of bytes and FLOPs by rate, and watts of classes on top."""
    columns = columns_of(workload)
    joules = factors["static"] * base.power.static_w * total_s + factors["active"] * base.power.active_w * busy.sum()
    joules += factors["byte"] * base.memory.energy_per_byte_j * columns.bytes_moved.sum()
    for index, op_class in enumerate(OP_CLASSES):
        at = columns.op_class == index
        rate = base.rates.rate_of(op_class, "float32")
        joules += factors[rate] * base.rates.energy_per_flop_j[rate] * columns.flops[at].sum()
        joules += (class_w or {}).get(op_class, 0.0) * busy[at].sum()
    return float(joules)


def _of_3x3(channels: int):
    layers = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(6)]
    x = torch.empty(16, channels, 56, 56, device="meta")
    return trace(nn.Sequential(*layers).to("meta"), TraceInputs((x,), {}, 16))


@pytest.mark.parametrize("device", ["t4", "v100-pcie-32gb"])
def test_joules_of_3x3_networks_are_found_without_tf32(device):
    # such a GPU has a rate of its own for Winograd's convolutions, beside the class of that name: once merged into one
    # entry, joules of 3x3 networks came out 1.18 (T4) and 1.37 (V100) times too high
    base = from_datasheet(find(device)).model
    assert base.rates.rate_of("winograd", "float32") == "float32_winograd"
    networks, seconds = [], []
    for sample, (_, _, workload) in zip(samples(60), drawn(60), strict=True):
        busy = op_seconds(workload)
        joules = _joules(workload, busy, sample.total_s, base, FACTORS)
        networks.append(Measured.of(replace(sample, energy_j=joules), workload))
        seconds.append(busy)
    power = learn_power(networks, seconds, base, None)
    for channels in (64, 256):
        workload = _of_3x3(channels)
        busy = op_seconds(workload)
        truth = _joules(workload, busy, float(busy.sum()), base, FACTORS)
        found = _joules(workload, busy, float(busy.sum()), base, power.factors, power.class_w)
        assert found / truth == pytest.approx(1.0, abs=0.06)
    assert np.isfinite(list(power.class_w.values())).all()
