"""Operators of a user's own: counted by the formula that was registered for them, here or with torch's counter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

from estimator import register_flops
from estimator.base.errors import InputError
from tests.estimator.tracing import Calls, forward, meta, one, step

FLOPS = 2 * 512 * 512
"""Of one row of 512 numbers by 512 x 512 weights."""


@torch.library.custom_op("joulecast_tests::scaled_product", mutates_args=())
def scaled_product(x: Tensor, w: Tensor) -> Tensor:
    return x @ w * 0.5


@scaled_product.register_fake
def _(x, w):
    return x.new_empty(x.shape[0], w.shape[1])


scaled_product.register_autograd(
    lambda ctx, g: (g @ ctx.saved_tensors[1].t() * 0.5, ctx.saved_tensors[0].t() @ g * 0.5),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
PACKET = torch.ops.joulecast_tests.scaled_product


def formula(x_shape, w_shape, *, out_shape):
    assert tuple(out_shape) == (x_shape[0], w_shape[1])
    return 2 * x_shape[0] * x_shape[1] * w_shape[1]


@pytest.fixture
def net():
    return Calls(lambda m, x: scaled_product(x, m.w), w=nn.Parameter(torch.zeros(512, 512)))


@pytest.fixture(autouse=True)
def _registry():
    before = dict(flop_registry)
    yield
    flop_registry.clear()
    flop_registry.update(before)


def test_an_op_without_a_formula_is_named(net):
    workload = forward(net, meta(1, 512))
    assert workload.flops == 0
    assert workload.uncovered_ops == {"joulecast_tests.scaled_product": 1}


@pytest.mark.parametrize("op", [scaled_product, PACKET, PACKET.default])
def test_a_registered_formula_counts(net, op):
    assert register_flops(op)(formula) is formula
    workload = step(net, meta(1, 512))
    assert not workload.uncovered_ops
    assert workload.flops_of(phase="forward") == FLOPS == 524_288
    assert workload.flops_of(phase="backward") == 2 * FLOPS  # two products of torch's own, whoever asks for them
    assert one(workload, "scaled_product").kind == "matmul"
    with FlopCounterMode(display=False) as counter:
        scaled_product(torch.zeros(1, 512), torch.zeros(512, 512))
    assert counter.get_total_flops() == FLOPS


@pytest.mark.parametrize("get_raw", [False, True])
def test_a_formula_that_torchs_counter_was_given_counts(net, get_raw):
    def raw(x, w, *, out_val):
        return formula(x.shape, w.shape, out_shape=out_val.shape)

    register_flop_formula(PACKET, get_raw=get_raw)(raw if get_raw else formula)
    assert forward(net, meta(1, 512)).flops == FLOPS


def test_the_last_formula_holds_also_for_an_op_of_torchs(net):
    register_flops(PACKET)(formula)
    register_flops(PACKET)(lambda *shapes, out_shape: 7)
    assert forward(net, meta(1, 512)).flops == 7
    register_flops(torch.ops.aten.relu)(lambda shape, *, out_shape: 3)
    assert forward(nn.ReLU(), meta(1, 512)).flops == 3


def test_torchs_own_formulas_do_not_replace_ours():
    # torch counts the weight's gradient of a grouped convolution `groups` times over
    net = nn.Conv2d(8, 8, 3, groups=8, bias=False)
    assert step(net, meta(1, 8, 5, 5)).flops_of(phase="backward") == 2 * 8 * 9 * 3 * 3


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda shape, *, out_shape: 1, "fails: TypeError"),
        (lambda *shapes, out_shape: -1, "gives -1; return a whole number"),
        (lambda *shapes, out_shape: 0.5, "gives 0.5; return a whole number"),
        (lambda *shapes, out_shape: None, "fails: TypeError"),
        (lambda *shapes, out_shape: float("inf"), "fails: OverflowError"),
    ],
)
def test_a_wrong_formula_is_one_sentence(net, wrong, says):
    register_flops(PACKET)(wrong)
    with pytest.raises(InputError, match=says):
        forward(net, meta(1, 512))


def test_what_is_no_op_is_refused():
    with pytest.raises(InputError, match=r"torch\.ops\.mine\.scan, not a function"):
        register_flops(lambda x: x)
