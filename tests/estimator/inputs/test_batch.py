"""Where the batch stands. Expected FLOPs: hand arithmetic, 2 per multiply-accumulate, of the nets batch first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from estimator import Scenario, estimate
from estimator.inputs.batch import placed_batch
from estimator.inputs.chosen import chosen_inputs
from estimator.sources.factory import built
from estimator.sources.inputs import InputSpec
from tests.estimator.tracing import Calls, on_meta

_WIDTH, _FEEDFORWARD, _STEPS = 64, 128, 512
_LAYER = 2 * _STEPS * (4 * _WIDTH**2 + 2 * _WIDTH * _FEEDFORWARD) + 4 * _STEPS**2 * _WIDTH  # products, attention
ENCODER = 2 * _LAYER
HEAD = 2 * _STEPS * _WIDTH * 1000


def encoder(batch_first=False):
    layer = nn.TransformerEncoderLayer(_WIDTH, 4, _FEEDFORWARD, dropout=0.0, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def language_model(batch_first=False):
    return nn.Sequential(nn.Embedding(1000, _WIDTH), encoder(batch_first), nn.Linear(_WIDTH, 1000))


def footprint(net, *inputs):
    return estimate(net, Scenario(hardware="a100", inputs=inputs))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("make", "given", "flops"),
    [
        (encoder, "512x64", ENCODER),
        (encoder, None, ENCODER),
        (language_model, "tokens:512", ENCODER + HEAD),
        (language_model, None, ENCODER + HEAD),
    ],
)
def test_a_sample_is_a_sequence(make, given, flops, batch_first):
    priced = footprint(on_meta(lambda: make(batch_first)), *([given] if given else []))
    assert priced.inference_workload.flops_per_sample == flops
    assert priced.training_workload.flops_per_sample > 2.5 * flops
    source = next(a.source for a in priced.assumptions if a.name == "input")
    assert ("batch in dimension 1, as " in source) is not batch_first
    told = any("batch in dimension" in warning for warning in priced.input_warnings)
    assert told is (given is not None and not batch_first)


def test_the_published_values():
    """FlopCounterMode on real tensors gave these."""
    assert ENCODER == 201_326_592 and ENCODER + HEAD == 266_862_592


def test_a_batch_that_is_named_stays():
    priced = footprint(on_meta(encoder), "Bx512x64")  # attention over the batch of 1, 512 times
    assert priced.inference_workload.flops_per_sample == 2 * (_LAYER - 4 * _STEPS**2 * _WIDTH + 4 * _STEPS * _WIDTH)
    assert not priced.input_warnings


def _lstm(batch_first=False):
    return nn.LSTM(8, 16, batch_first=batch_first)


FOLLOWED = {  # the dimension of the batch in what `forward` takes, by reading it
    "lstm": (_lstm, (5, 8), 1),
    "lstm batch first": (lambda: _lstm(True), (5, 8), 0),
    "transposed to steps first": (lambda: Calls(lambda m, x: m.l(x.transpose(0, 1)), l=_lstm()), (5, 8), 0),
    "transposed to batch first": (lambda: Calls(lambda m, x: m.l(x.transpose(0, 1)), l=_lstm(True)), (5, 8), 1),
    "convolved": (
        lambda: Calls(lambda m, x: m.l(m.c(x).flatten(2).permute(2, 0, 1)), c=nn.Conv2d(3, 8, 3), l=_lstm()),
        (3, 9, 9),
        0,
    ),
    "recurrent": (lambda: nn.Sequential(nn.Linear(8, 8), nn.RNN(8, 4)), (5, 8), 1),
    "attention": (lambda: Calls(lambda m, x: m.a(x, x, x)[0], a=nn.MultiheadAttention(8, 2)), (5, 8), 1),
    "a value is read first": (lambda: Calls(lambda m, x: m.l(x if x.sum() > 0 else -x), l=_lstm()), (5, 8), 1),
    "no layer that knows": (lambda: nn.Linear(8, 8), (5, 8), 0),
    "one sequence without a batch": (lambda: Calls(lambda m, x: m.l(x[0]), l=_lstm()), (5, 8), 0),
}


_NOT_FOR_SEQUENCES = ("convolved", "no layer that knows", "one sequence without a batch")


@pytest.mark.parametrize(
    ("name", "first"), [*((n, 0) for n in FOLLOWED), *((n, 1) for n in FOLLOWED if n not in _NOT_FOR_SEQUENCES)]
)
def test_what_stands_before_the_layer_is_followed(name, first):
    make, shape, expected = FOLLOWED[name]
    (spec,), told = placed_batch(on_meta(make), (InputSpec(shape, batch_dim=first),), torch.float32)
    assert spec == InputSpec(shape, batch_dim=expected)
    assert bool(told) is (expected == 1 or first != expected)


def test_sizes_of_an_example_change_places():
    """(512, 2, 64), taken as a batch of 512 before, is a batch of 2 with 512 steps."""
    spec = InputSpec((2, _WIDTH), example_batch=_STEPS)
    assert placed_batch(on_meta(encoder), (spec,), torch.float32)[0] == (
        InputSpec((_STEPS, _WIDTH), batch_dim=1, example_batch=2),
    )


def test_the_model_is_left_as_it_was():
    net = encoder()
    placed_batch(net, (InputSpec((5, _WIDTH)),), torch.float32)
    assert net.training and not any(m._forward_pre_hooks for m in net.modules())
    assert all(p.device.type == "cpu" for p in net.parameters())


def test_the_example_of_a_factory_has_its_steps_first():
    """torch's default for an LSTM: (steps, batch, features)."""
    model = built((on_meta(_lstm), torch.zeros(_STEPS, 2, 8)), "net.py:f", "")
    specs = chosen_inputs(model, Scenario()).specs
    assert specs == (InputSpec((_STEPS, 8), batch_dim=1, example_batch=2),)
