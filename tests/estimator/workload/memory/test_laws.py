"""In which direction the peak goes, for any small network."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from estimator.workload.memory.peak import DEVICE, HOST, peak
from estimator.workload.memory.scaling import TwoBatches
from tests.estimator.tracing import forward, meta, on_meta, step

LAYERS = st.lists(st.sampled_from(["linear", "relu", "norm", "sigmoid"]), min_size=1, max_size=5)


def _net(kinds):
    made = {
        "linear": lambda: nn.Linear(16, 16),
        "relu": lambda: nn.Sequential(nn.Linear(16, 16), nn.ReLU(inplace=True)),
        "norm": lambda: nn.LayerNorm(16),
        "sigmoid": nn.Sigmoid,
    }
    return on_meta(lambda: nn.Sequential(nn.Linear(16, 16), *(made[kind]() for kind in kinds)))


@settings(max_examples=8, deadline=None)
@given(LAYERS, st.integers(2, 500), st.sampled_from([DEVICE, HOST]))
def test_peak_grows_with_the_batch_training_and_adam(kinds, batch, allocator):
    net = _net(kinds)

    def total(workload):
        return peak(workload.allocations, allocator).total

    trained = total(step(net, meta(batch, 16)))
    assert trained >= total(step(net, meta(batch - 1, 16)))
    assert trained >= total(forward(net, meta(batch, 16)))
    assert total(step(net, meta(batch, 16), optimizer="adam")) >= trained
    assert peak(step(net, meta(batch, 16)).allocations, DEVICE).total >= trained


@settings(max_examples=8, deadline=None)
@given(LAYERS, st.integers(2, 500), st.integers(1, 2000), st.sampled_from([DEVICE, HOST]))
def test_two_batch_sizes_tell_every_other(kinds, batch, wanted, allocator):
    net = _net(kinds)
    passes = tuple(step(net, meta(n, 16)).allocations for n in (batch, 2 * batch))
    two = TwoBatches((batch, 2 * batch), passes, allocator)
    told = two.bytes_at(wanted)
    if wanted > 1:  # a batch of one has a gradient of other strides
        assert told == peak(step(net, meta(wanted, 16)).allocations, allocator).total
    assert two.largest(told, wanted + 1) == wanted
    assert two.largest(told, wanted) == wanted - 1
    assert two.largest(0, wanted) == 0


def test_passes_that_are_not_alike_are_joined_by_a_line():
    short, long_ = _net(["linear"]), _net(["linear", "linear", "sigmoid"])
    passes = (forward(short, meta(2, 16)).allocations, forward(long_, meta(4, 16)).allocations)
    two = TwoBatches((2, 4), passes, HOST)
    ends = [peak(pass_, HOST).total for pass_ in passes]
    assert two.bytes_at(3) == pytest.approx(sum(ends) / 2)
    assert two.bytes_at(4) == ends[1]
