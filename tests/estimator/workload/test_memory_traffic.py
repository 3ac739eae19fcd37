"""Bytes that single ops read and write, against hand arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from estimator.workload import formulas
from tests.estimator.tracing import BYTES, Calls, forward, meta, named, on_meta, one, step


def test_embedding_reads_only_the_rows_it_touches():
    layer = on_meta(lambda: nn.Embedding(1_000_000, 64))
    op = one(forward(layer, meta(4, 10, dtype=torch.long)), "embedding")
    assert op.bytes_read == 40 * 64 * BYTES + 40 * 8
    assert op.bytes_written == 40 * 64 * BYTES


def test_embedding_bag_reads_only_the_rows_it_touches():
    layer = on_meta(lambda: nn.EmbeddingBag(1_000_000, 64))
    workload = forward(layer, meta(4, 10, dtype=torch.long))
    (op,) = (op for op in workload.ops if op.kind == "embedding")
    assert op.bytes_read == 40 * 64 * BYTES + 40 * 8 + 4 * 8  # rows, indices, offsets


def test_gather_reads_what_it_picks():
    op = one(forward(Calls(lambda _, x, i: x[i]), meta(1000, 64), meta(3, dtype=torch.long)), "index")
    assert op.bytes_read == 3 * 64 * BYTES + 3 * 8


def test_broadcast_dimensions_are_not_read():
    op = one(forward(Calls(lambda _, x, y: x.expand(8, 16) + y), meta(8, 1), meta(8, 16)), "add")
    assert op.bytes_read == BYTES * (8 + 8 * 16)
    assert op.bytes_written == BYTES * 8 * 16


def test_one_tensor_used_twice_is_read_once():
    op = one(forward(Calls(lambda _, x: x * x), meta(8, 16)), "mul")
    assert op.bytes_read == BYTES * 8 * 16
    other = one(forward(Calls(lambda _, x, y: x * y), meta(8, 16), meta(8, 16)), "mul")
    assert other.bytes_read == 2 * BYTES * 8 * 16


@pytest.mark.parametrize(
    ("call", "name", "read"),
    [
        (lambda x, y: x.zero_(), "zero_", 0),
        (lambda x, y: x.fill_(2.0), "fill_", 0),
        (lambda x, y: x.normal_(), "normal_", 0),
        (lambda x, y: x.copy_(y), "copy_", BYTES * 128),
        (lambda x, y: torch.zeros_like(x), "zeros_like", 0),
        (lambda x, y: x.new_zeros(8, 16), "new_zeros", 0),
        (lambda x, y: x.add_(y), "add_", 2 * BYTES * 128),
    ],
)
def test_what_is_overwritten_is_not_read(call, name, read):
    op = one(forward(Calls(lambda _, x, y: call(x * 1, y)), meta(8, 16), meta(8, 16)), name)
    assert (op.bytes_read, op.bytes_written) == (read, BYTES * 128)


def test_views_and_allocations_move_nothing():
    def views(_, x):
        x = x.view(16, 8).transpose(0, 1)[2:5].unsqueeze(0).squeeze(0).expand(4, 3, 16).detach()
        x.unsqueeze_(0).squeeze_(0)
        return x.split(1), x.new_empty(5)

    assert not forward(Calls(views), meta(8, 16)).ops


def test_strided_input_counts_its_elements():
    op = one(forward(Calls(lambda _, x: x[:, ::2].exp()), meta(8, 16)), "exp")
    assert op.bytes_read == BYTES * 8 * 8


def test_nbytes():
    assert formulas.nbytes(meta(3, 4, dtype=torch.float16)) == 24
    assert formulas.nbytes(meta(3, 1).expand(3, 4)) == 12
    assert formulas.nbytes(meta(0, 4)) == 0
    assert formulas.nbytes(meta()) == 4


def test_convolution_backward_bytes_by_hand():
    # three kernels: input gradient (grad, weight -> x), weight gradient (grad, x -> weight), bias (grad -> 8 values)
    net = on_meta(lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 3)))
    op = next(op for op in step(net, meta(2, 4, 8, 8)).ops if op.name == "convolution_backward" and op.layer == "1")
    grad, x, weight = 2 * 8 * 6 * 6, 2 * 4 * 8 * 8, 8 * 4 * 9
    assert op.bytes_read == BYTES * ((grad + weight) + (grad + x) + grad)
    assert op.bytes_written == BYTES * (x + weight + 8)
    assert op.launches == 3


def test_mlp_bytes_by_hand():
    net = on_meta(lambda: nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)))
    workload = step(net, meta(8, 20))
    moved = {(op.layer, op.name): (op.bytes_read // BYTES, op.bytes_written // BYTES) for op in workload.ops}
    assert moved["0", "addmm"] == (30 + 8 * 20 + 20 * 30, 8 * 30)
    assert moved["1", "relu"] == (8 * 30, 8 * 30)
    assert moved["2", "addmm"] == (5 + 8 * 30 + 30 * 5, 8 * 5)
    # the gradients of layer 2: the input's (grad, weight), then the weight's (grad, activations)
    gradients = [op for op in named(workload, "mm") if op.layer == "2"]
    assert sorted((op.bytes_read // BYTES, op.bytes_written // BYTES) for op in gradients) == sorted(
        [(8 * 5 + 30 * 5, 8 * 30), (8 * 5 + 8 * 30, 30 * 5)]
    )
    assert moved["1", "threshold_backward"] == (2 * 8 * 30, 8 * 30)
    optimizer = sum(op.bytes_moved for op in workload.of_phase("optimizer"))
    assert optimizer == 3 * BYTES * (600 + 30 + 150 + 5)  # reads weight and gradient, writes weight


def test_recurrent_weights_are_read_once_not_once_a_step():
    def bytes_at(steps):
        net = on_meta(lambda: Calls(lambda m, x: m.rnn(x)[0], rnn=nn.LSTM(8, 64)))
        return one(forward(net, meta(steps, 2, 8)), "rnn").bytes_moved

    weights = BYTES * (4 * 64 * (8 + 64) + 2 * 4 * 64)
    assert bytes_at(21) - bytes_at(20) < weights / 10
    assert bytes_at(1) > weights
