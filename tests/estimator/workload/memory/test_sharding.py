"""What one of many devices holds, by hand."""

import pytest
from torch import nn

from estimator import estimate
from estimator.lifecycle.scenario import Scenario
from tests.estimator.tracing import on_meta

WIDE = 1024 * 1024 * 4  # bytes of a layer's weight


def _memory(shard, devices=4, **said):
    net = on_meta(lambda: nn.Sequential(*[nn.Linear(1024, 1024, bias=False) for _ in range(8)]))
    scenario = Scenario(hardware="a100", batch_size=4 * devices, devices=devices, shard=shard, **said)
    return estimate(net, scenario).memory.training.peak


def test_each_stage_keeps_one_more_thing_in_parts():
    whole, states, gradients, full = (_memory(shard) for shard in (None, "optimizer", "gradients", "full"))
    # eight layers, Adam's two states of each; four devices
    assert whole.weights == 8 * WIDE and whole.optimizer_states == 16 * WIDE
    assert states.optimizer_states == 4 * WIDE and states.weights == 8 * WIDE
    assert states.gradients == whole.gradients
    assert gradients.gradients == pytest.approx(whole.gradients / 4)
    assert full.weights == 2 * WIDE
    assert whole.total > states.total > gradients.total > full.total
    # two of the eight layers are whole while they are used
    assert full.temporaries >= 2 * WIDE


def test_more_devices_hold_less_each():
    assert _memory("full", 8).total < _memory("full", 2).total
    assert _memory(None, 8).weights == _memory(None, 2).weights


def test_a_compiled_step_is_told_as_eager():
    assert _memory(None, compile="default").total == _memory(None).total
