"""What a fused attention's kernels run, by hand arithmetic."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from estimator.energy.columns import blocks, exponentials, run_share
from estimator.workload.trace import TraceInputs, trace


class _Attends(nn.Module):
    def __init__(self, causal: bool, keys: int = 8) -> None:
        super().__init__()
        self.causal, self.keys = causal, keys
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        key = x[:, :, : self.keys] * self.scale
        return functional.scaled_dot_product_attention(x * self.scale, key, key, is_causal=self.causal)


def _attention(causal: bool, keys: int = 8, optimizer: str | None = None):
    inputs = TraceInputs((torch.empty(2, 3, 8, 16, device="meta"),), {}, 2)
    with torch.device("meta"):
        module = _Attends(causal, keys)
    return [op for op in trace(module, inputs, optimizer=optimizer).ops if op.kind == "attention"]


def test_a_full_attention_runs_all_of_its_scores():
    (op,) = _attention(causal=False)
    assert (op.causal, run_share(op)) == (False, 1)
    assert exponentials(op) == 2 * 3 * 8 * 8
    assert blocks(op) == 8 / 128


def test_a_causal_attention_runs_those_up_to_the_diagonal():
    # 1 + 2 + ... + 8 = 36 of 64 scores a head; FLOPs are counted in full
    (op,) = _attention(causal=True)
    assert op.causal
    assert op.flops == 2 * 3 * 8 * 8 * 2 * (16 + 16)
    assert run_share(op) == pytest.approx(36 / 64)
    assert exponentials(op) == pytest.approx(2 * 3 * 36)


def test_fewer_keys_than_queries_by_hand():
    # rows of 1, 2, 3 and five times 4 of 4 scores: 26 of 32
    (op,) = _attention(causal=True, keys=4)
    assert run_share(op) == pytest.approx(26 / 32)


def test_a_backward_pass_knows_it_too():
    forward, backward = _attention(causal=True, optimizer="sgd")
    assert (forward.phase, backward.phase) == ("forward", "backward")
    assert run_share(backward) == pytest.approx(36 / 64)
    assert exponentials(backward) == pytest.approx(2 * 3 * 36)


def test_a_product_has_as_many_blocks_as_its_inner_dimension():
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(640, 10), nn.ReLU())
    product, other = trace(module, TraceInputs((torch.empty(4, 640, device="meta"),), {}, 4)).ops
    assert blocks(product) == 10
    assert blocks(other) == math.inf
    assert exponentials(product) == exponentials(other) == 0
