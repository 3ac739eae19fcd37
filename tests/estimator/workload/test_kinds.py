"""Every op has a kind; one that has no FLOP formula is said, not counted as nothing."""

from __future__ import annotations

import pytest
import torch

from estimator.workload import kinds
from estimator.workload.formulas import OpFacts
from estimator.workload.ops import COUNTED
from tests.estimator.tracing import Calls, forward, meta

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
