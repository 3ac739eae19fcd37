"""Models that read values which only data would tell, and models that do not run: guesses and errors by hand."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from estimator.base.errors import InputError
from tests.estimator.tracing import Calls, forward, meta, named, on_meta, step


@pytest.mark.parametrize(
    ("call", "guess"),
    [
        (lambda m, x: m.a(x) if x.sum().item() > 0 else x, ".item() in the model: 1"),
        (lambda m, x: m.a(x) if x.sum() > 0 else x, "a condition in the model: True (the dearer way: an upper bound)"),
        (lambda m, x: m.a(x)[:, : int(x.long().max())], ".item() in the model: 1"),
        (lambda m, x: m.a(x) * x[0].tolist()[0], ".item() in the model: 1 (4 times)"),
        # (its gradient is an op with the same mask, and no second guess)
        (lambda m, x: m.a(x)[x[:, 0] > 0], "a boolean mask in the model: every element selected (an upper bound)"),
        (
            lambda m, x: m.a(x)[torch.nonzero(x[:, 0])[:, 0]],
            "nonzero in the model: every element kept (an upper bound)",
        ),
        (lambda m, x: m.a(x)[torch.where(x[:, 0] > 0)], "nonzero in the model: every element kept (an upper bound)"),
        (
            lambda m, x: torch.masked_select(m.a(x), x > 0),
            "masked_select in the model: every element selected (an upper bound)",
        ),
        (
            lambda m, x: m.a(x) if torch.equal(x, x + 1) else x,
            "equal in the model: True (the dearer way: an upper bound)",
        ),
        (
            lambda m, x: m.a(x).repeat_interleave(x[:, 0].long(), 0),
            "repeat_interleave in the model: every element repeated once (data may repeat it more or less often)",
        ),
        (
            lambda m, x: m.a(x)[torch.unique(x[:, 0].long())],
            "unique in the model: all elements different (an upper bound)",
        ),
    ],
)
def test_values_are_guessed_and_reported(call, guess):
    net = on_meta(lambda: Calls(call, a=nn.Linear(4, 4)))
    workload = step(net, meta(5, 4))
    assert workload.guesses == (guess,)
    assert workload.flops_of(phase="forward") == 2 * 5 * 4 * 4  # the guessed branch runs the layer on every row
    assert workload.flops_of(phase="backward") == 2 * 5 * 4 * 4


class Experts(nn.Module):
    """A mixture of experts by hand: each of 4 experts takes the rows that are routed to it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(8, 4), nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, chosen = self.gate(x).softmax(-1).topk(2)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            row, column = torch.where(chosen == i)
            out[row] += expert(x[row]) * value[row, column, None]
        return out


def test_guesses_say_what_was_guessed_and_in_which_direction():
    one = forward(on_meta(Experts), meta(5, 8))
    assert one.guesses == ("nonzero in the model: every element kept (an upper bound) (4 times)",)
    # every expert gets each of the 5 rows twice, as both of its choices
    assert one.flops == 2 * 5 * 8 * 4 + 4 * 2 * (2 * 5) * 8 * 8


def test_alike_guesses_of_alike_layers_are_one():
    net = on_meta(lambda: nn.Sequential(Experts(), Experts(), Calls(lambda _, x: x[x[:, 0] > 0])))
    assert forward(net, meta(5, 8)).guesses == (
        "nonzero in *: every element kept (an upper bound) (8 times)",
        "a boolean mask in 2: every element selected (an upper bound)",
    )


# ---- loops on guessed values


def _layers(workload):
    return len([op for op in workload.ops if op.kind == "matmul"])


def _again(m, x):
    while x.max() > 0:
        x = m.a(x)
    return x


def _twice(m, x):
    return _again(m, m.b(_again(m, x)))


def _number(m, x):
    while x.sum().item() > 0.5:
        x = m.a(x)
    return x


def _remaining(m, x):
    while len(torch.nonzero(x > 0)):
        x = m.a(x)
    return x


def _masked(m, x):
    while x[x > 0].numel():
        x = m.a(x)
    return x


def _two_conditions(m, x):
    while x.max() > 0:
        x = m.a(x)
        if x.min() < 0:
            x = x + 1
    return x


@pytest.mark.parametrize(
    ("call", "layers"),
    # 1,000 rounds; the 1,001st answer is no
    [(_again, 1000), (_number, 1000), (_remaining, 1000), (_masked, 1000), (_two_conditions, 1000), (_twice, 2001)],
)
def test_a_loop_on_a_value_is_taken_to_end(call, layers):
    workload = forward(on_meta(lambda: Calls(call, a=nn.Linear(4, 4), b=nn.Linear(4, 4))), meta(2, 4))
    assert _layers(workload) == layers
    times = " (2 times)" if call is _twice else ""
    assert f"a loop on a tensor's value in the model: taken to end after 1,000 rounds{times}" in workload.guesses


def test_a_loop_that_no_guess_ends_is_an_error():
    def endless(m, x):
        while x.argmax().item() != 7:
            x = m.a(x)
        return x

    with pytest.raises(InputError, match=r"forward loops on a tensor's value in layer a \(Linear\)") as error:
        forward(on_meta(lambda: Calls(endless, a=nn.Linear(4, 4))), meta(2, 4))
    assert "--input" not in str(error.value)


def test_a_list_of_values_is_no_loop():
    def reads(m, x):
        return m.a(x) * len(x[0].tolist())

    workload = forward(on_meta(lambda: Calls(reads, a=nn.Linear(4000, 4))), meta(2, 4000))
    assert workload.guesses == (".item() in the model: 1 (4,000 times)",)


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


class TheirOwn(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TheirOwn("their own"), "their own"),
        (TheirOwn(), "TheirOwn"),
        (Exception("plain [/x]\nexception"), "plain [/x]"),
        (SystemExit("bye"), "forward calls sys.exit (bye)"),
        (SystemExit(3), "forward calls sys.exit (3)"),
        (StopIteration(), "StopIteration"),
    ],
)
def test_errors_of_the_users_own_are_one_sentence_too(error, said):
    def fails(m, x):
        m.a(x)
        raise error

    with pytest.raises(InputError) as caught:
        step(on_meta(lambda: Calls(fails, a=nn.Linear(4, 4))), meta(2, 4))
    assert f"in layer a (Linear): {said}; " in str(caught.value)
    assert not hasattr(error, "recorder")


def test_an_error_in_a_backward_of_the_users_own_is_one_sentence_too():
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            raise TheirOwn("no gradient")

    with pytest.raises(InputError, match="no gradient"):
        step(on_meta(lambda: Calls(lambda m, x: Bad.apply(m.a(x)), a=nn.Linear(4, 4))), meta(2, 4))


def test_an_interrupt_is_not_hidden():
    def interrupted(m, x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forward(Calls(interrupted), meta(2, 4))


def test_an_error_of_the_users_own_on_meta_alone_leads_to_fake_tensors():
    def no_meta(m, x):
        if x.is_meta:
            raise TheirOwn
        return m.a(x)

    workload = forward(on_meta(lambda: Calls(no_meta, a=nn.Linear(4, 4))), meta(5, 4))
    assert workload.flops == 2 * 5 * 4 * 4
