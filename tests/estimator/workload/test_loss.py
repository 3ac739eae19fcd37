"""Which loss is assumed, by the form of the output; what each form must give is in `estimator.workload.loss.LOSS`."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from estimator.workload.loss import assumed_loss, training_loss
from tests.estimator.tracing import Calls, forward, meta, on_meta, step


def _grad(*shape):
    return torch.ones(shape, requires_grad=True)


def _losses(workload):
    return sorted(op.name for op in workload.of_phase("forward") if op.layer_type == "loss" and op.kind != "copy")


CROSS_ENTROPY = ["_log_softmax", "nll_loss_forward"]


@dataclass
class Out:
    prediction: torch.Tensor
    note: str = "ignored"


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("wrap", "expected"),
    [
        (lambda y: y, CROSS_ENTROPY),  # batch x classes
        (lambda y: y[:, :1], ["mse_loss"]),  # one value a sample
        (lambda y: y[:, 0], ["mse_loss"]),
        (lambda y: y[:, None].expand(5, 2, 3), ["mse_loss"]),  # anything else, such as an image
        (lambda y: {"logits": y[:, None].expand(5, 2, 3)}, CROSS_ENTROPY),  # tokens
        (lambda y: OrderedDict(logits=y, cache=[None, "x"]), CROSS_ENTROPY),
        (lambda y: (y, y.argmax(-1)), CROSS_ENTROPY),  # indices have no loss
        (Out, CROSS_ENTROPY),
        (lambda y: Pair(y, [y[:, :1]]), sorted([*CROSS_ENTROPY, "mse_loss", "sum"])),  # the sum over outputs
        (lambda y: {"loss": y.sum(), "logits": y}, []),  # a model's own loss is taken at its word
        (lambda y: y.bfloat16(), CROSS_ENTROPY),
        (lambda y: torch.complex(y, y), sorted(["abs", *CROSS_ENTROPY])),  # the modulus
    ],
)
def test_loss_by_form_of_the_output(wrap, expected):
    net = on_meta(lambda: Calls(lambda m, x: wrap(m.a(x)), a=nn.Linear(4, 3)))
    workload = step(net, meta(5, 4))
    assert _losses(workload) == expected
    assert workload.flops_of(phase="backward") == 2 * 5 * 4 * 3  # whatever the loss, the layer's gradient


def test_loss_values():
    # cross entropy of equal logits over n classes is log n; mean squared error of ones against zeros is 1
    assert training_loss(_grad(5, 3)).item() == pytest.approx(torch.tensor(3.0).log().item())
    assert training_loss(_grad(5, 3, 4, 4)).item() == 1
    assert training_loss((_grad(5), _grad(7))).item() == 2
    own = _grad(1).sum()
    assert training_loss({"loss": own, "logits": _grad(5, 3)}) is own


SQUARED = "mean squared error"


@pytest.mark.parametrize(
    ("output", "name"),
    [
        (_grad(5, 1000), "cross entropy over 1000 classes"),
        ({"logits": _grad(5, 7, 30)}, "cross entropy over 30 classes"),
        (_grad(5, 3, 4, 4), SQUARED),
        ((_grad(5, 3), _grad(7)), f"cross entropy over 3 classes + {SQUARED}"),
        ([_grad(7)] * 3, " + ".join([SQUARED] * 3)),
        ([_grad(7)] * 5, " + ".join([SQUARED] * 3) + " + 2 more"),
        ({"loss": _grad(1).sum(), "logits": _grad(5, 3)}, "the model's own loss"),
        (torch.ones(5, 3), ""),
    ],
)
def test_the_loss_is_named(output, name):
    assert assumed_loss(output)[1] == name


def test_the_workload_of_a_training_step_names_the_loss():
    net = on_meta(lambda: nn.Linear(4, 3))
    assert step(net, meta(5, 4)).loss == "cross entropy over 3 classes"
    assert forward(net, meta(5, 4)).loss == ""
    assert step(on_meta(nn.ReLU), meta(5, 4)).loss == ""


def test_no_gradient_no_loss():
    assert training_loss(torch.ones(5, 3)) is None
    assert training_loss(None) is None
    assert training_loss({"logits": torch.ones(5, 3)}) is None
