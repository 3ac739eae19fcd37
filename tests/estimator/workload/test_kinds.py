"""Every op has a kind; one that has no FLOP formula is said, not counted as nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

from estimator import register_flops
from estimator.base.errors import InputError
from estimator.workload import kinds
from estimator.workload.formulas import OpFacts
from estimator.workload.ops import COUNTED
from tests.estimator.tracing import Calls, forward, meta, one, step

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (aten.mm.default, "matmul"),
        (aten.addmm_.default, "matmul"),
        (aten.convolution_backward.default, "conv"),
        (aten._scaled_dot_product_flash_attention_for_cpu.default, "attention"),
        (aten._scaled_dot_product_flash_attention_for_cpu_backward.default, "attention"),
        (aten._softmax_backward_data.default, "softmax"),
        (aten.native_batch_norm.default, "norm"),
        (aten.native_group_norm_backward.default, "norm"),
        (aten.max_pool2d_with_indices_backward.default, "pool"),
        (aten.upsample_bilinear2d.vec, "pool"),
        (aten.embedding_dense_backward.default, "embedding"),
        (aten.index_put_.default, "index"),
        (aten._to_copy.default, "copy"),
        (aten.cat.default, "copy"),
        (aten.sum.dim_IntList, "reduce"),
        (aten.nll_loss_forward.default, "reduce"),
        (aten.gelu_backward.default, "elementwise"),
        (aten.silu_.default, "elementwise"),
        (aten.hardswish_.default, "elementwise"),
        (aten.hardswish_backward.default, "elementwise"),
        (aten.threshold_backward.default, "elementwise"),
        (aten.add.Tensor, "elementwise"),
        (aten.native_dropout.default, "elementwise"),
        (aten._fft_r2c.default, "fft"),
        (aten._linalg_svd.default, "uncovered"),
    ],
)
def test_kinds_of_common_ops(op, kind):
    assert OpFacts.of(op).kind == kind


def _all_overloads():
    for name in dir(aten):
        packet = getattr(aten, name)
        if isinstance(packet, torch._ops.OpOverloadPacket):
            for overload in packet.overloads():
                yield getattr(packet, overload)


def test_no_contraction_is_counted_as_nothing():
    # of all of torch's ops: one called a contraction has a formula, else it would count 0 FLOPs in silence
    facts = [(str(op), OpFacts.of(op)) for op in _all_overloads()]
    assert len(facts) > 2000
    assert [name for name, fact in facts if fact.kind in COUNTED and fact.flops is None and not fact.free] == []


def test_tables_name_real_ops_once():
    names = [name for line in kinds._NAMES.values() for name in line.split()]
    assert sorted(names) == sorted(set(names))
    assert not kinds.NO_TRAFFIC & set(names)


def test_op_without_formula_is_reported_with_its_bytes():
    workload = forward(Calls(lambda _, x: torch.linalg.cholesky(x)), meta(4, 16, 16))
    assert workload.uncovered_ops == {"aten.linalg_cholesky_ex": 1}
    assert workload.bound == "at least"
    (op,) = workload.ops
    assert op.kind == "uncovered"
    assert op.flops == 0
    assert op.bytes_read == 4 * 16 * 16 * 4
    assert op.bytes_written == 4 * 16 * 16 * 4 + 4 * 4  # the factors, and an int32 a matrix: whether it succeeded


def test_covered_network_reports_nothing():
    def pointwise(_, x):
        for f in (torch.nn.functional.hardswish, torch.nn.functional.logsigmoid, torch.nn.functional.mish):
            x = f(x)
        return torch.floor_divide(x, 2.0)

    assert not forward(Calls(pointwise), meta(4, 16)).uncovered_ops


# ---- operators of a user's own, counted by the formula that was registered for them

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
