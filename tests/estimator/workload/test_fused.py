"""Attention, dropout and recurrent layers are one op each, and give the shapes that the real ones give."""

from __future__ import annotations

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from estimator.sources import load
from tests.estimator.tracing import Calls, forward, meta, named, on_meta, one, step

SDPA = "_scaled_dot_product_fused_attention_overrideable"


def _names(workload):
    return [op.name for op in workload.ops]


@pytest.mark.parametrize("shape", [(7, 4), (3, 7, 4), (2, 3, 7, 4), (2, 2, 3, 7, 4)])
@pytest.mark.parametrize("mask", [None, "bool", "float", "causal"])
def test_attention_of_any_rank_keeps_its_shape(shape, mask):
    masks = {"bool": torch.ones(7, 7, dtype=torch.bool), "float": torch.ones(7, 7)}

    def attend(_, x):
        given = masks[mask].to(x.device) if mask in masks else None
        return functional.scaled_dot_product_attention(x, x, x, attn_mask=given, is_causal=mask == "causal")

    real = Calls(attend)(torch.ones(shape))
    seen = []
    workload = forward(Calls(lambda m, x: seen.append(attend(m, x).shape)), meta(*shape))
    assert seen == [real.shape]
    assert _names(workload).count(SDPA) == 1


@pytest.mark.parametrize("training", [False, True])
def test_multihead_attention_is_fused_where_torch_fuses_it(training):
    # nn.MultiheadAttention calls the fused kernel exactly when the weights are not asked for
    def run(weights):
        net = on_meta(lambda: Calls(lambda m, x: m.a(x, x, x, need_weights=weights)[0], a=nn.MultiheadAttention(8, 2)))
        return step(net, meta(5, 3, 8)) if training else forward(net, meta(5, 3, 8))

    fused, written_out = run(False), run(True)
    assert _names(fused).count(SDPA) == 1
    assert SDPA not in _names(written_out)
    # both do the same multiplications in the forward pass, by hand: 4 projections, QK^T and PV
    by_hand = 2 * 15 * 4 * 8 * 8 + 2 * 2 * 3 * 5 * 5 * 8
    assert fused.flops_of(phase="forward") == written_out.flops_of(phase="forward") == by_hand


@pytest.mark.parametrize("training", [False, True])
def test_transformer_layers_are_not_one_opaque_op(training):
    # in eval mode torch would run the whole layer as one op; here each matrix product is seen
    net = on_meta(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    workload = step(net, meta(3, 5, 8)) if training else forward(net, meta(3, 5, 8))
    assert workload.flops_of(phase="forward") == 2 * 15 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 2 * 3 * 5 * 5 * 8
    assert {op.layer for op in workload.ops if op.kind == "attention"} == {"self_attn"}
    assert not workload.uncovered_ops


def test_whole_transformer():
    net = on_meta(lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True))
    workload = step(net, meta(3, 5, 8), meta(3, 4, 8))
    assert _names(workload).count(SDPA) == 3  # encoder, decoder to itself, decoder to encoder
    assert _names(workload).count(SDPA + "_backward") == 3


# ---- dropout

DROPS = {
    "layer": lambda m, x: m.drop(x),
    "function": lambda m, x: functional.dropout(x, 0.3),
    "by keywords": lambda m, x: functional.dropout(p=0.3, training=True, input=x),
    "of torch": lambda m, x: torch.dropout(x, 0.3, train=True),
    "by its own name": lambda m, x: torch.native_dropout(x, 0.3, True)[0],
    "of an export": lambda m, x: torch.ops.aten.dropout.default(x, 0.3, True),
    "beside a value that is read": lambda m, x: m.drop(x) * x.sum().item(),
}


def _dropping(drop):
    return on_meta(lambda: Calls(lambda m, x: drop(m, m.a(x)), a=nn.Linear(6, 5), drop=nn.Dropout(0.3)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("how", DROPS)
def test_dropout_is_one_op_and_so_is_its_gradient(how, dtype):
    workload = step(_dropping(DROPS[how]), meta(4, 6, dtype=getattr(torch, dtype)), dtype=dtype)
    x, mask = 20 * getattr(torch, dtype).itemsize, 20  # by hand: 4 x 5 elements, and a byte an element
    drop, back = one(workload, "native_dropout"), one(workload, "native_dropout_backward")
    assert (drop.bytes_read, drop.bytes_written, drop.outputs) == (x, x + mask, ((4, 5), (4, 5)))
    assert (back.bytes_read, back.bytes_written, back.outputs) == (x + mask, x, ((4, 5),))
    for op in (drop, back):
        assert (op.kind, op.dtype, op.flops, op.launches) == ("elementwise", dtype, 20, 1)
        assert op.layer == ("drop" if how in ("layer", "beside a value that is read") else "")
    assert not {"bernoulli_", "div_"} & set(_names(workload)) and not workload.uncovered_ops


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.3, False)])
def test_a_dropout_that_drops_nothing_is_no_op(p, training):
    net, plain = _dropping(lambda m, x: functional.dropout(x, p, training)), _dropping(lambda m, x: x)
    assert step(net, meta(4, 6)).ops == step(plain, meta(4, 6)).ops


@pytest.mark.parametrize(
    "drop",
    [
        lambda m, x: functional.dropout(x, 0.3, inplace=True),
        lambda m, x: functional.dropout(x, 1.0),
        lambda m, x: functional.dropout1d(x, 0.3),
        lambda m, x: functional.alpha_dropout(x, 0.3, training=True),
        lambda m, x: functional.feature_alpha_dropout(x, 0.3, training=True),
    ],
)
def test_what_has_no_kernel_of_its_own_stays_as_it_runs(drop):
    workload = step(_dropping(drop), meta(4, 6))
    assert "native_dropout" not in _names(workload)
    assert {"mul", "mul_"} & {op.name for op in workload.of_phase("forward")}


def test_dropout_inside_of_torchs_transformers():
    # by hand: after the attention, in the middle of the feed-forward part and after it; of the weights where asked for
    net = on_meta(lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1))
    assert [op.layer for op in named(step(net, meta(5, 3, 8)), "native_dropout")] == ["dropout1", "dropout", "dropout2"]
    attention = on_meta(lambda: Calls(lambda m, x: m.a(x, x, x)[0], a=nn.MultiheadAttention(8, 2, dropout=0.1)))
    workload = step(attention, meta(5, 3, 8))
    assert one(workload, "native_dropout").inputs == ((6, 5, 5),)  # 3 samples x 2 heads
    assert one(workload, "native_dropout_backward").layer == "a"
    assert not named(forward(attention, meta(5, 3, 8)), "native_dropout")


def test_attention_in_an_export_is_the_one_op_of_its_module(tmp_path):
    def attend(_, x):
        return functional.scaled_dot_product_attention(x, x, x)

    path, given = tmp_path / "attention.pt2", torch.ones(2, 4, 16, 8)
    torch.export.save(torch.export.export(Calls(attend), (given,)), path)
    exported, own = forward(load(str(path)).module, meta(2, 4, 16, 8)), forward(Calls(attend), meta(2, 4, 16, 8))
    assert _names(exported) == _names(own) == [SDPA]
    assert exported.flops == own.flops


def test_an_export_in_training_mode_keeps_its_dropout(tmp_path):
    program = torch.export.export(nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.3)).train(), (torch.zeros(4, 6),))
    torch.export.save(program, tmp_path / "model.pt2")
    workload = step(load(str(tmp_path / "model.pt2")).module, meta(4, 6))
    assert one(workload, "native_dropout").layer == one(workload, "native_dropout_backward").layer == "1"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.floats(0.01, 0.99))
def test_dropout_of_any_shape_moves_what_its_real_tensors_hold(shape, p):
    out, mask = torch.native_dropout(torch.ones(shape), p, True)
    net = on_meta(lambda: Calls(lambda m, x: functional.dropout(x * m.w, p), w=nn.Parameter(torch.ones(1))))
    workload = step(net, meta(*shape))
    drop, back = one(workload, "native_dropout"), one(workload, "native_dropout_backward")
    assert drop.outputs == (out.shape, mask.shape) and mask.element_size() == 1
    assert drop.bytes_moved == back.bytes_moved == 2 * out.nbytes + mask.nbytes == 9 * prod(shape)


RECURRENT = [nn.RNN, nn.GRU, nn.LSTM]


_OPTIONS = (
    {},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "dropout": 0.5},
    {"bias": False},
)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, options) for kind in RECURRENT for options in _OPTIONS),
        (nn.LSTM, {"proj_size": 3}),
        (nn.RNN, {"nonlinearity": "relu"}),
    ],
)
def test_recurrent_outputs_have_the_real_shapes(kind, options):
    real = kind(4, 6, **options)
    out, state = real(torch.ones(5, 5, 4))
    seen = []

    def run(m, x):
        traced, traced_state = m.rnn(x)
        seen.append((traced.shape, [t.shape for t in ((traced_state,) if kind is not nn.LSTM else traced_state)]))
        return traced

    workload = step(on_meta(lambda: Calls(run, rnn=kind(4, 6, **options))), meta(5, 5, 4))
    assert seen == [(out.shape, [t.shape for t in ((state,) if kind is not nn.LSTM else state)])]
    assert _names(workload).count("rnn") == _names(workload).count("rnn_backward") == 1
    assert {op.layer for op in workload.ops if op.kind == "rnn"} == {"rnn"}


@pytest.mark.parametrize("use", ["output", "last state", "cell"])
def test_backward_is_seen_whatever_part_of_the_output_is_used(use):
    pick = {"output": lambda o, s: o[-1], "last state": lambda o, s: s[0][-1], "cell": lambda o, s: s[1][-1]}[use]
    net = on_meta(lambda: Calls(lambda m, x: m.head(pick(*m.rnn(x))), rnn=nn.LSTM(4, 6), head=nn.Linear(6, 2)))
    workload = step(net, meta(5, 3, 4))
    (backward,) = (op for op in workload.ops if op.name == "rnn_backward")
    assert backward.flops == 2 * (2 * 5 * 3 * 4 * 6 * (4 + 6))  # twice the forward, by hand
    assert backward.layer == "rnn"


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("lengths", ["list", "tensor"])
def test_packed_sequences_are_taken_at_full_length_and_said(kind, lengths):
    def run(m, x, *given):
        given = given[0].cpu() if given else [5] * x.shape[0]
        packed = pack_padded_sequence(x, given, batch_first=True, enforce_sorted=False)
        out, state = m.rnn(packed)
        padded, _ = pad_packed_sequence(out, batch_first=True)
        return m.head(padded).mean(1) + m.head((state[0] if isinstance(state, tuple) else state)[-1])

    net = on_meta(lambda: Calls(run, rnn=kind(4, 6, batch_first=True), head=nn.Linear(6, 2)))
    inputs = (meta(3, 5, 4), meta(3, dtype=torch.long))[: 1 + (lengths == "tensor")]
    workload = step(net, *inputs)
    gates = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}[kind]
    (op,) = (op for op in workload.ops if op.name == "rnn")
    assert op.flops == 2 * 5 * 3 * gates * 6 * (4 + 6)  # by hand, every step of every sequence
    assert "every packed sequence has the full length (an upper bound)" in workload.guesses
    assert not workload.uncovered_ops


def test_sequence_packed_by_hand():
    def run(m, x):
        sizes = torch.tensor([3, 2, 1], device="cpu")
        return m.rnn(PackedSequence(x, sizes), meta(1, 3, 6))[0].data

    net = on_meta(lambda: Calls(run, rnn=nn.GRU(4, 6)))
    workload = forward(net, meta(6, 4))
    assert workload.flops == 2 * 6 * 3 * 6 * (4 + 6)  # six steps in all
    assert [op.launches for op in workload.ops if op.kind == "rnn"] == [2 * 3]  # which run in three, together


def test_sequence_packed_by_hand_of_uneven_steps():
    def run(m, x):
        return m.rnn(PackedSequence(x, torch.tensor([3, 2, 2], device="cpu")), meta(1, 3, 6))[0].data

    workload = forward(on_meta(lambda: Calls(run, rnn=nn.GRU(4, 6))), meta(7, 4))
    assert workload.flops == 2 * 7 * 3 * 6 * (4 + 6)
    assert [op.launches for op in workload.ops if op.kind == "rnn"] == [2 * 3]


def test_random_layer_drop_keeps_the_layer():
    # Hugging Face's `if torch.rand([]) < layerdrop: skip`
    net = on_meta(lambda: Calls(lambda m, x: x if torch.rand([]) < 0.5 else m.f(x), f=nn.Linear(4, 4)))
    assert forward(net, meta(3, 4)).flops == 2 * 3 * 4 * 4


def _recurrent_ops(net, x):
    return {o.phase: o for o in step(net, x).ops if o.kind == "rnn"}


def test_a_packed_sequence_costs_what_the_padded_one_does():
    # all sequences at full length: the same steps, kernels and FLOPs (once packed, a layer was priced as one step)
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(8, 16, 2, batch_first=True)

        def forward(self, x):
            lengths = torch.full((x.shape[0],), x.shape[1], device="cpu")
            return pad_packed_sequence(self.rnn(pack_padded_sequence(x, lengths, batch_first=True))[0])[0]

    packed = _recurrent_ops(Packed(), meta(4, 81, 8))
    padded = _recurrent_ops(nn.LSTM(8, 16, 2, batch_first=True), meta(4, 81, 8))
    for phase, times in (("forward", 1), ("backward", 2)):
        # by hand: a matrix product and a gate kernel for each of 81 steps and 2 layers; twice as many backward
        assert packed[phase].launches == padded[phase].launches == times * 2 * 81 * 2
        assert packed[phase].flops == padded[phase].flops
    weights = 4 * 16 * (8 + 16) + 4 * 16 * (16 + 16)
    assert packed["forward"].flops == 2 * 4 * 81 * weights


@pytest.mark.parametrize("bias", [True, False])
def test_a_projection_adds_no_layer(bias):
    # by hand: 2 layers of hidden 16, projected to 5; two kernels a step and layer, as without a projection
    net = nn.LSTM(8, 16, 2, batch_first=True, proj_size=5, bias=bias)
    forward = _recurrent_ops(net, meta(4, 10, 8))["forward"]
    assert forward.launches == 2 * 10 * 2
    assert forward.flops == 2 * 4 * 10 * (4 * 16 * (8 + 5) + 5 * 16 + 4 * 16 * (5 + 5) + 5 * 16)
    # written: the output, both states, and the gates of both layers (4 x 16 each, a step and sample)
    assert forward.bytes_written == 4 * (4 * 10 * 5 + 2 * 4 * 5 + 2 * 4 * 16 + 2 * 4 * 10 * 4 * 16)
