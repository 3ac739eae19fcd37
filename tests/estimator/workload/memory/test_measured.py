"""Peaks as torch itself measures them; `python -m benchmarks.memory` does so for 30 networks."""

from __future__ import annotations

import pytest
from torch import nn

from benchmarks import memory
from benchmarks.networks import SMALL, TRACKED, Network, autoencoder, encoder, own

TINY = (
    own("autoencoder", lambda: autoencoder(4), 4, 3, 16, 16),
    own("encoder", lambda: encoder(32, 2), 4, 16, 32),
    own(
        "norms",
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten()),
        4,
        3,
        9,
        9,
    ),
)


@pytest.mark.parametrize("mode", memory.MODES)
@pytest.mark.parametrize("network", TINY, ids=lambda network: network.name)
def test_as_mem_tracker_counts_on_fake_tensors(network: Network, mode):
    assert memory.predicted(network, mode)[0] == pytest.approx(memory.tracked(network, mode), rel=0.03)


def test_as_a_real_run_allocates():
    network = TINY[1]  # without convolutions, which oneDNN copies into layouts of its own
    assert memory.predicted(network, "sgd")[0] == pytest.approx(memory.profiled(network, "sgd"), rel=0.10)


def test_enough_networks_are_measured():
    assert len({network.name for network in TRACKED}) == 20
    assert len({network.name for network in SMALL}) == 10
