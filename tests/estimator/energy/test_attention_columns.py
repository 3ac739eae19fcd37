"""What a fused attention's kernels run, by hand arithmetic."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from estimator.energy.columns import blocks, columns_of, exponentials, norm, results, run_share, units
from estimator.energy.demand import roofline
from estimator.workload.ops import Op
from estimator.workload.trace import TraceInputs, trace
from tests.estimator.profiles import model, op, work


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


@pytest.mark.parametrize(("dtype", "expected"), [("float32", 640 / 8), ("bfloat16", 640 / 64)])
def test_a_product_has_as_many_blocks_as_its_inner_dimension(dtype, expected):
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(640, 10), nn.ReLU())
    inputs = TraceInputs((torch.empty(4, 640, device="meta", dtype=getattr(torch, dtype)),), {}, 4)
    product, other = trace(module, inputs, dtype=dtype).ops
    assert blocks(product) == expected
    assert blocks(other) == math.inf
    assert exponentials(product) == exponentials(other) == units(product) == 0
    assert (results(product), results(other)) == (40, 40)


def _attends(queries: int, keys: int, heads: int = 8, heads_of_keys: int = 2, width: int = 64) -> Op:
    q, kv = (3, heads, queries, width), (3, heads_of_keys, keys, width)
    made = op(flops=4 * 3 * heads * queries * keys * width, kind="attention")
    return replace(made, name="_scaled_dot_product_flash_attention", inputs=(q, kv, kv), outputs=(q,))


def test_blocks_of_threads_by_hand():
    # 4 heads share the keys of one: 4 x 100 rows of scores are 4 blocks of 128, for 3 samples x 2 heads of keys
    assert units(_attends(100, 100)) == 3 * 2 * 4
    assert units(_attends(1, 5000)) == 3 * 2
    # one query, 5,000 keys in 20 pieces of 256: tiles of 64 x 64 for 6 x 20 blocks; its result would be 3 x 8 x 64
    assert results(_attends(1, 5000)) == 120 * 64 * 64
    assert results(_attends(4096, 256)) == 3 * 8 * 4096 * 64  # the result itself is more than 6 x 128 blocks


def test_a_block_of_threads_takes_its_time():
    machine = model(unit_s=1e-3)
    tiny = columns_of(work(_attends(1, 1)))
    assert roofline(tiny, machine).device_s == pytest.approx([6e-3], rel=1e-3)  # 6 blocks


@pytest.mark.parametrize(
    ("kind", "phase", "expected"),
    [
        ("norm", "forward", 1),
        ("norm", "backward", 2),
        ("softmax", "forward", 0),
        ("softmax", "backward", 2),
        ("matmul", "backward", 0),
    ],
)
def test_which_ops_read_rows_again(kind, phase, expected):
    assert norm(op(kind=kind, phase=phase)) == expected
    # 1e9 bytes at 1e11 B/s take 10 ms, at half or a quarter of that 20 and 40 ms
    machine = model(norm_bandwidth=0.5, norm_backward_bandwidth=0.25)
    seconds = roofline(columns_of(work(op(moved=1e9, kind=kind, phase=phase))), machine).device_s
    assert seconds == pytest.approx([{0: 0.01, 1: 0.02, 2: 0.04}[expected]])
