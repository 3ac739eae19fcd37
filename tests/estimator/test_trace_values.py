"""Models that read values which only data would tell, and models that do not run: guesses and errors by hand."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from estimator.errors import InputError
from tests.estimator.tracing import Calls, forward, meta, named, on_meta, step


@pytest.mark.parametrize(
    ("call", "guess"),
    [
        (lambda m, x: m.a(x) if x.sum().item() > 0 else x, "local_scalar_dense"),
        (lambda m, x: m.a(x) if x.sum() > 0 else x, "local_scalar_dense"),
        (lambda m, x: m.a(x)[:, : int(x.long().max())], "local_scalar_dense"),
        (lambda m, x: m.a(x) * x[0].tolist()[0], "local_scalar_dense"),
        (lambda m, x: m.a(x)[x[:, 0] > 0], "boolean mask"),
        (lambda m, x: m.a(x)[torch.nonzero(x[:, 0])[:, 0]], "nonzero"),
        (lambda m, x: m.a(x)[torch.where(x[:, 0] > 0)], "nonzero"),
        (lambda m, x: torch.masked_select(m.a(x), x > 0), "masked_select"),
        (lambda m, x: m.a(x) if torch.equal(x, x + 1) else x, "equal"),
        (lambda m, x: m.a(x).repeat_interleave(x[:, 0].long(), 0), "repeat_interleave"),
        (lambda m, x: m.a(x)[torch.unique(x[:, 0].long())], "unique"),
    ],
)
def test_values_are_guessed_and_reported(call, guess):
    net = on_meta(lambda: Calls(call, a=nn.Linear(4, 4)))
    workload = step(net, meta(5, 4))
    assert any(guess in said for said in workload.guesses), workload.guesses
    assert workload.flops_of(phase="forward") == 2 * 5 * 4 * 4  # the guessed branch runs the layer on every row
    assert workload.flops_of(phase="backward") == 2 * 5 * 4 * 4


def test_boolean_mask_is_taken_whole():
    workload = forward(on_meta(lambda: Calls(lambda m, x: m.a(x[x[..., 0] > 0]), a=nn.Linear(4, 4))), meta(5, 3, 4))
    assert workload.flops == 2 * 15 * 4 * 4
    assert workload.guesses


def test_model_that_needs_no_guess_reports_none():
    def constant(m, x):
        return m.a(x) if torch.tensor(3.0).item() > 2 else x  # a constant is known

    workload = forward(on_meta(lambda: Calls(constant, a=nn.Linear(4, 4))), meta(5, 4))
    assert workload.flops == 2 * 5 * 4 * 4
    assert forward(on_meta(lambda: nn.Linear(4, 4)), meta(5, 4)).guesses == ()


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_plain_tensor_attributes_are_met_on_their_device(device, reads):
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4, device="meta")
            self.scale = torch.ones(4, device=device)  # neither parameter nor buffer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x) * self.scale
            return y + 1 if reads and y.sum().item() > 0 else y

    workload = step(Plain(), meta(5, 4))
    assert workload.flops_of(phase="forward") == 2 * 5 * 4 * 4
    assert len(named(workload, "mul")) == 2


# ---- errors


def test_wrong_shape_is_one_sentence_that_names_the_layer(caplog, capfd):
    net = on_meta(lambda: nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(5, 4))))
    with pytest.raises(InputError) as error, caplog.at_level(logging.DEBUG):
        forward(net, meta(2, 4))
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    assert "input of 2x4" in message
    assert "in layer 1.1 (Linear)" in message
    assert "--input" in message
    assert not caplog.records  # torch itself would log a traceback
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, NameError, ImportError, OSError, AssertionError])
def test_whatever_forward_raises_is_one_sentence(error):
    def fails(_, x):
        raise error("first line\nsecond line " + 500 * "x")

    with pytest.raises(InputError) as caught:
        step(Calls(fails), meta(2, 4))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
