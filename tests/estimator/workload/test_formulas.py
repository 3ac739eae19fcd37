"""FLOPs of single ops, against hand arithmetic and, where it is right, torch's own formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tests.estimator.tracing import BYTES, Calls, forward, meta, on_meta, one, step

# ---- convolutions


@pytest.mark.parametrize(
    ("layer", "shape", "flops"),
    [  # by hand: 2 x batch x output positions x c_out x (c_in / groups) x kernel
        (lambda: nn.Conv2d(4, 6, 3), (2, 4, 8, 8), 2 * 2 * 6 * 6 * 6 * 4 * 9),
        (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 8, 8), 2 * 2 * 6 * 6 * 6 * 2 * 9),
        (lambda: nn.Conv2d(6, 6, 3, groups=6, padding=1), (2, 6, 8, 8), 2 * 2 * 8 * 8 * 6 * 9),  # depthwise
        (lambda: nn.Conv2d(4, 6, 3, stride=2), (2, 4, 9, 9), 2 * 2 * 4 * 4 * 6 * 4 * 9),
        (lambda: nn.Conv2d(4, 6, 3, dilation=2), (2, 4, 9, 9), 2 * 2 * 5 * 5 * 6 * 4 * 9),
        (lambda: nn.Conv1d(4, 6, 5), (2, 4, 20), 2 * 2 * 16 * 6 * 4 * 5),
        (lambda: nn.Conv3d(2, 3, (1, 2, 3)), (2, 2, 4, 5, 6), 2 * 2 * 4 * 4 * 4 * 3 * 2 * 6),
        (lambda: nn.Conv2d(4, 6, 3), (4, 8, 8), 2 * 6 * 6 * 6 * 4 * 9),  # unbatched
        # transposed: every weight meets every position of the INPUT
        (lambda: nn.ConvTranspose2d(4, 6, 3), (2, 4, 5, 5), 2 * 2 * 5 * 5 * 4 * 6 * 9),
        (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2), (2, 4, 5, 5), 2 * 2 * 5 * 5 * 4 * 3 * 9),
        (lambda: nn.ConvTranspose1d(4, 6, 3), (4, 5), 2 * 5 * 4 * 6 * 3),  # unbatched
    ],
)
def test_convolution_by_hand(layer, shape, flops):
    assert forward(on_meta(layer), meta(*shape)).flops == flops


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_convolution_backward_is_twice_the_forward(kind, groups):
    # by hand: the input's and the weight's gradient each use every weight once a position, whatever the groups;
    # torch's own counter multiplies the weight's gradient by `groups`
    net = on_meta(lambda: nn.Sequential(nn.Conv2d(4, 4, 1), kind(4, 8, 3, groups=groups)))
    ops = [op for op in step(net, meta(2, 4, 8, 8)).ops if op.layer == "1" and op.kind == "conv"]
    forwards, backwards = (sum(op.flops for op in ops if op.phase == phase) for phase in ("forward", "backward"))
    assert backwards == 2 * forwards > 0


def test_first_convolution_has_no_input_gradient():
    net = on_meta(lambda: nn.Conv2d(4, 8, 3))
    workload = step(net, meta(2, 4, 8, 8))
    assert workload.flops_of(phase="backward") == workload.flops_of(phase="forward")


@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 3),
    c_in=st.integers(1, 3),
    c_out=st.integers(1, 3),
    kernel=st.integers(1, 3),
    size=st.integers(4, 9),
    stride=st.integers(1, 2),
    transposed=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_convolution_forward_agrees_with_torchs_counter(batch, groups, c_in, c_out, kernel, size, stride, transposed):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = on_meta(lambda: kind(c_in * groups, c_out * groups, kernel, stride=stride, groups=groups))
    x = meta(batch, c_in * groups, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x)
    assert forward(layer, x).flops == counter.get_total_flops()


# ---- matrix products


@pytest.mark.parametrize(
    ("call", "shapes", "flops"),
    [  # by hand: 2 m k n
        (torch.mm, [(3, 4), (4, 5)], 2 * 3 * 4 * 5),
        (torch.bmm, [(2, 3, 4), (2, 4, 5)], 2 * 2 * 3 * 4 * 5),
        (torch.matmul, [(2, 6, 3, 4), (4, 5)], 2 * 12 * 3 * 4 * 5),
        (torch.matmul, [(2, 6, 3, 4), (2, 6, 4, 5)], 2 * 12 * 3 * 4 * 5),
        (torch.mv, [(3, 4), (4,)], 2 * 3 * 4),
        (torch.dot, [(7,), (7,)], 2 * 7),
        (torch.addmm, [(5,), (3, 4), (4, 5)], 2 * 3 * 4 * 5),
        (torch.addmv, [(3,), (3, 4), (4,)], 2 * 3 * 4),
        (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 2 * 2 * 3 * 4 * 5),
        (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], 2 * 2 * 3 * 4 * 5),
        (torch.addr, [(3, 4), (3,), (4,)], 2 * 3 * 4),
        (lambda a, b: torch.einsum("bij,jk->bik", a, b), [(2, 3, 4), (4, 5)], 2 * 2 * 3 * 4 * 5),
        (lambda a, b: torch.einsum("bhid,bhjd->bhij", a, b), [(2, 6, 3, 4), (2, 6, 5, 4)], 2 * 12 * 3 * 5 * 4),
        (lambda a, b: torch.zeros(3, 5).addmm_(a, b), [(3, 4), (4, 5)], 2 * 3 * 4 * 5),  # in place
        (functional.linear, [(2, 3, 4), (5, 4), (5,)], 2 * 2 * 3 * 4 * 5),
    ],
)
def test_matrix_products_by_hand(call, shapes, flops):
    workload = forward(Calls(lambda _, *tensors: call(*tensors)), *(meta(*shape) for shape in shapes))
    assert workload.flops == flops
    assert not workload.uncovered_ops


def test_bilinear_by_hand():
    # y_o = x1 W_o x2: every weight is used once a sample
    layer = on_meta(lambda: nn.Bilinear(4, 5, 6))
    assert forward(layer, meta(3, 4), meta(3, 5)).flops == 2 * 3 * 4 * 5 * 6


def test_grouped_matrix_product_by_hand():
    # 10 routed rows of width 16 through experts of 16 x 32: a row meets one expert
    experts = on_meta(lambda: Calls(lambda m, x, ends: functional.grouped_mm(x, m.w, offs=ends)))
    experts.w = nn.Parameter(meta(4, 16, 32, dtype=torch.bfloat16))
    workload = forward(experts, meta(10, 16, dtype=torch.bfloat16), meta(4, dtype=torch.int32), dtype="bfloat16")
    assert workload.flops == 2 * 10 * 16 * 32


def test_mlp_in_full_by_hand():
    """Linear(20, 30), ReLU, Linear(30, 5), cross entropy, SGD, 8 samples: forward 2mkn, backward twice that but for
    the first layer, whose input needs no gradient."""
    net = on_meta(lambda: nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)))
    workload = step(net, meta(8, 20))
    first, second = 2 * 8 * 20 * 30, 2 * 8 * 30 * 5
    assert workload.flops_of(phase="forward") == first + second
    assert workload.flops_of(phase="backward") == first + 2 * second
    assert workload.flops_of(phase="optimizer", kinds=("optimizer",)) == 2 * (600 + 30 + 150 + 5)


# ---- attention


def _attend(q, k, v, **options):
    return functional.scaled_dot_product_attention(q, k, v, **options)


def test_attention_by_hand():
    # QK^T: 2 B H L S E, PV: 2 B H L S Ev; length 7 attends to 5, width 4, values of width 6
    workload = forward(Calls(lambda _, *qkv: _attend(*qkv)), meta(2, 3, 7, 4), meta(2, 3, 5, 4), meta(2, 3, 5, 6))
    assert workload.flops == 2 * 2 * 3 * 7 * 5 * (4 + 6)


def test_grouped_query_attention_counts_query_heads():
    # 8 query heads share 2 key heads: every query head has its own scores; keys are read once a group
    q, kv = meta(2, 8, 7, 4), meta(2, 2, 7, 4)
    op = forward(Calls(lambda _, q, k, v: _attend(q, k, v, enable_gqa=True)), q, kv, meta(2, 2, 7, 4)).ops[0]
    assert op.flops == 2 * 2 * 8 * 7 * 7 * (4 + 4)
    assert op.bytes_read == BYTES * (q.numel() + 2 * kv.numel())


def test_attention_backward_is_five_products():
    # by hand, and against torch's counter on attention written out, whose backward keeps the scores (four products)
    def written_out(m, x):
        return ((m.q(x) @ x.transpose(-1, -2)).softmax(-1) @ m.v(x)).sum()

    def fused(m, x):
        return _attend(m.q(x), m.k(x), m.v(x))

    parts = {name: on_meta(lambda: nn.Linear(4, 4)) for name in "qkv"}
    x = meta(2, 3, 7, 4)
    op = next(op for op in step(Calls(fused, **parts), x).ops if op.kind == "attention" and op.phase == "backward")
    product = 2 * 2 * 3 * 7 * 7 * 4
    assert op.flops == 5 * product

    outer = Calls(written_out, **parts)
    with FlopCounterMode(display=False) as counter:
        outer(x.requires_grad_()).backward()
    unfused = counter.get_flop_counts()["Global"][torch.ops.aten.bmm]
    assert op.flops == (unfused - 2 * product) + product  # torch: 2 forward + 4 backward; ours recomputes one more


# ---- recurrent layers


@pytest.mark.parametrize(
    ("layer", "weights"),
    [  # by hand: gates x hidden x (input + hidden) a layer and direction, used once a step
        (lambda: nn.RNN(8, 16), 16 * (8 + 16)),
        (lambda: nn.GRU(8, 16), 3 * 16 * (8 + 16)),
        (lambda: nn.LSTM(8, 16), 4 * 16 * (8 + 16)),
        (lambda: nn.LSTM(8, 16, bias=False), 4 * 16 * (8 + 16)),
        (lambda: nn.LSTM(8, 16, num_layers=2), 4 * 16 * (8 + 16) + 4 * 16 * (16 + 16)),
        (lambda: nn.GRU(8, 16, bidirectional=True), 2 * 3 * 16 * (8 + 16)),
        (lambda: nn.GRU(8, 16, 2, bidirectional=True), 2 * 3 * 16 * (8 + 16) + 2 * 3 * 16 * (32 + 16)),
        (lambda: nn.LSTM(8, 16, proj_size=4), 4 * 16 * (8 + 4) + 4 * 16),
        (lambda: nn.LSTM(8, 16, batch_first=True), 4 * 16 * (8 + 16)),
    ],
)
def test_recurrent_layers_by_hand(layer, weights):
    net = on_meta(lambda: Calls(lambda m, x: m.rnn(x)[0], rnn=layer()))
    workload = step(net, meta(5, 5, 8))
    assert workload.flops_of(phase="forward") == 2 * 5 * 5 * weights
    assert workload.flops_of(phase="backward") == 4 * 5 * 5 * weights


def test_unbatched_recurrent_layer_by_hand():
    net = on_meta(lambda: Calls(lambda m, x: m.rnn(x)[0], rnn=nn.LSTM(8, 16)))
    assert forward(net, meta(5, 8)).flops == 2 * 5 * 4 * 16 * (8 + 16)


@pytest.mark.parametrize(("cell", "gates"), [(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)])
def test_recurrent_cells_by_hand(cell, gates):
    workload = forward(on_meta(lambda: cell(8, 16)), meta(5, 8))
    assert workload.flops == 2 * 5 * gates * 16 * (8 + 16)
    assert not workload.uncovered_ops


# ---- pointwise ops


def test_pointwise_ops_count_one_flop_an_element():
    op = one(forward(Calls(lambda _, x: x.exp()), meta(8, 16)), "exp")
    assert op.flops == 128
    assert forward(Calls(lambda _, x: x.exp()), meta(8, 16)).flops == 0  # not a contraction: not in published tables
    assert op.arithmetic_intensity == 128 / (2 * 128 * BYTES)
