"""What is held at the peak, by hand arithmetic in float32 bytes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from estimator.sources.stored import Stored, mark
from estimator.workload.memory.peak import DEVICE, HOST, peak
from tests.estimator.tracing import Calls, forward, meta, on_meta, step

MB = 250_000
"""Elements of a million bytes."""


def _held(workload, allocator=HOST):
    return peak(workload.allocations, allocator)


def test_inference_lets_go_of_what_its_last_user_has_read():
    # at any time an op's input and its output are held: 2 MB, and the batch, which the caller holds: 3 MB
    chain = on_meta(lambda: nn.Sequential(*(nn.Sigmoid() for _ in range(5))))
    assert _held(forward(chain, meta(1, MB))).activations == 3_000_000


def test_training_keeps_what_backward_needs():
    # 1 MB each: the batch, the results of 5 sigmoids, the target; nobody needs the product
    chain = on_meta(lambda: nn.Sequential(*(nn.Sigmoid() for _ in range(5))))
    scaled = Calls(lambda m, x: m.chain(x * m.w), chain=chain, w=nn.Parameter(meta(1)))
    assert step(scaled, meta(MB, 1)).allocations.lifetimes.saved_bytes() == {"float32": 7_000_000 + 4}


def test_views_and_saved_parameters_are_not_counted_again():
    # the batch is saved as a view of it, the weight is a parameter; then the output, its target and the loss
    linear = on_meta(lambda: nn.Sequential(nn.Flatten(), nn.Linear(1000, 1, bias=False)))
    lives = step(linear, meta(1000, 10, 100)).allocations.lifetimes
    assert lives.saved_bytes()["float32"] == 4_000_000 + 4_000 + 4_000 + 4


def test_gradients_replace_activations_in_the_backward_pass():
    # 20 layers of 100 x 100 on one sample: the end of it holds 20 gradients, the beginning hardly any
    deep = on_meta(lambda: nn.Sequential(*(nn.Linear(100, 100, bias=False) for _ in range(20))))
    found = _held(step(deep, meta(1, 100)))
    assert found.gradients == 20 * 40_000
    assert found.weights == 20 * 40_000


@pytest.mark.parametrize(("optimizer", "states"), [("sgd", 0), ("momentum", 1), ("adam", 2), ("adamw", 2)])
def test_optimizer_states(optimizer, states):
    net = on_meta(lambda: nn.Linear(1000, 1000, bias=False))
    assert _held(step(net, meta(1, 1000), optimizer=optimizer)).optimizer_states == states * 4_000_000


def test_adam_makes_a_root_of_all_parameters_at_once_on_a_device_and_two_of_one_on_a_host():
    net = on_meta(lambda: nn.Sequential(nn.Linear(512, 512, bias=False), nn.Linear(512, 1024, bias=False)))
    workload = step(net, meta(1, 512), optimizer="adam")
    left = 3 * 512  # blocks of the output and of a loss, at most
    assert _held(workload, DEVICE).temporaries == pytest.approx(4 * (512 * 512 + 512 * 1024), abs=3 * 4096)
    assert _held(workload).temporaries == pytest.approx(2 * 4 * 512 * 1024, abs=3 * 4096 + left)


def test_a_device_rounds_every_block_up_and_keeps_a_reserve():
    net = on_meta(lambda: nn.Linear(3, 3))
    found = _held(forward(net, meta(1, 3)), DEVICE)
    assert found.weights == 2 * 512
    assert found.activations == 2 * 512
    assert found.reserve == 512 * 2**20
    assert found.total == sum(found.parts().values())


def test_weights_in_fewer_bits_take_their_real_bytes_and_one_is_unpacked_at_a_time():
    net = on_meta(lambda: nn.Sequential(nn.Linear(64, 128, bias=False), nn.Linear(128, 64, bias=False)))
    for layer in net:
        mark(layer, Stored("nf4", 4, 8, 64))
    found = _held(forward(net, meta(1, 64)))
    assert found.weights == 2 * (64 * 128 // 2 + 64 * 128 // 64)
    assert found.temporaries == 4 * 64 * 128


def test_frozen_parameters_have_neither_gradient_nor_state():
    net = on_meta(lambda: nn.Sequential(nn.Linear(1000, 1000, bias=False), nn.Linear(1000, 10, bias=False)))
    found = _held(step(net, meta(1, 1000), optimizer="adam", freeze=("0",)))
    assert found.weights == 4_040_000
    assert found.optimizer_states == 2 * 40_000


def test_dtype_in_force_is_that_of_what_is_saved():
    net = on_meta(lambda: nn.Sequential(nn.Linear(100, 100), nn.Tanh()))
    workload = step(net, meta(64, 100, dtype=torch.bfloat16), dtype="bfloat16")
    assert set(workload.allocations.lifetimes.saved_bytes()) == {"bfloat16", "int64"}  # and the classes' numbers


def test_checkpointed_layers_keep_their_input_alone():
    block = on_meta(lambda: nn.Sequential(*(m for _ in range(8) for m in (nn.Linear(100, 100), nn.Sigmoid()))))
    plain = Calls(lambda m, x: m.block(x), block=block)
    kept = Calls(lambda m, x: checkpoint(m.block, x, use_reentrant=False), block=block)
    x = meta(10_000, 100)
    saved = step(plain, x).allocations.lifetimes.saved_bytes()["float32"]
    again = step(kept, x).allocations.lifetimes.saved_bytes()["float32"]
    assert saved - again == 7 * 4_000_000  # a sigmoid saves its result, which the next product shares: all but the last


def test_attention_saves_no_scores():
    net = Calls(lambda m, x: functional.scaled_dot_product_attention(m.w * x, x, x), w=nn.Parameter(meta(1)))
    saved = step(net, meta(1, 8, 1024, 64)).allocations.lifetimes.saved_bytes()["float32"]
    assert saved < 4 * 8 * 1024 * 1024  # the scores of 8 heads
