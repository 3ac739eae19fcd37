"""Which loss is assumed, by the form of the output; what each form must give is in `estimator.workload.loss.LOSS`.

FLOPs are hand arithmetic: 2 per multiply-accumulate; a layer's backward pass costs twice its forward pass, or once
where its input asks for no gradient.
"""

from __future__ import annotations

import types
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import distributions, nn

from estimator.workload.loss import assumed_loss, training_loss, unread_outputs
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


# ---- outputs that are no containers

LINEAR = 2 * 4 * 3
"""FLOPs of `nn.Linear(4, 3)` for one sample, and of its backward pass where it is the first layer."""


class Plain:
    def __init__(self, y):
        self.logits = y


class Slots:
    __slots__ = ("logits", "never_set")

    def __init__(self, y):
        self.logits = y


class BehindAProperty:
    def __init__(self, y):
        self._y, self.size = y, len(y)

    @property
    def logits(self):
        raise AssertionError("a property is not asked")


class Cyclic(Plain):
    def __init__(self, y):
        super().__init__(y)
        self.me, self.parts = self, [self]


class Prediction(Plain):
    def __call__(self):
        raise AssertionError("nothing is called")


@pytest.mark.parametrize(
    "wrap",
    [
        Plain,
        Slots,
        BehindAProperty,
        Cyclic,
        Prediction,
        lambda y: types.SimpleNamespace(logits=y, again=y),  # one tensor under two names is one output
        lambda y: {"nested": [Plain(y)]},
        lambda y: distributions.Categorical(logits=y),
        lambda y: distributions.Independent(distributions.Normal(y, torch.ones_like(y)), 1),
        lambda y: distributions.TransformedDistribution(
            distributions.Normal(y, torch.ones_like(y)), [distributions.TanhTransform()]
        ),
        lambda y: distributions.MixtureSameFamily(
            distributions.Categorical(logits=y), distributions.Normal(torch.zeros_like(y), torch.ones_like(y))
        ),
    ],
)
def test_tensors_behind_attributes_are_outputs(wrap):
    net = on_meta(lambda: Calls(lambda m, x: wrap(m.a(x)), a=nn.Linear(4, 3)))
    workload = step(net, meta(1, 4))
    assert workload.flops_of(phase="backward") == LINEAR
    assert not workload.guesses


def test_a_policys_actor_is_trained_beside_its_critic():
    # (128 x 1024 + 64 x 128) weights of first layers once, (1024 x 1024 + 1024 x 6 + 64) twice, 2 FLOPs each
    actor = nn.Sequential(nn.Linear(128, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 6))
    critic = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))
    net = Calls(
        lambda m, x: (distributions.Categorical(logits=m.actor(x)), m.critic(x)),
        actor=actor,
        critic=critic,
    )
    assert step(net.to("meta"), meta(1, 128)).flops_of(phase="backward") == 4_497_664


def test_an_encoder_that_returns_a_distribution_only():
    # 2 x (784 x 400 + 2 x 2 x 400 x 20): the body once, the two heads twice
    def encode(m, x):
        h = torch.relu(m.body(x))
        return distributions.Normal(m.mu(h), (0.5 * m.lv(h)).exp())

    net = on_meta(lambda: Calls(encode, body=nn.Linear(784, 400), mu=nn.Linear(400, 20), lv=nn.Linear(400, 20)))
    assert step(net, meta(1, 784)).flops_of(phase="backward") == 691_200


def test_what_is_not_read_is_told_once_a_type():
    y = torch.ones(2, 3, requires_grad=True)
    assert unread_outputs((y, nn.ReLU(), nn.ReLU(), lambda: y, iter([y]))) == ("ReLU", "function", "list_iterator")
    assert unread_outputs({"loss": y.sum(), "layer": nn.ReLU()}) == ()  # the model's own loss is the whole of it
    deep = y
    for _ in range(10):
        deep = Plain(deep)
    assert unread_outputs(deep) == ("Plain",)
    assert assumed_loss(deep)[0] is None


def test_a_workload_names_what_is_not_read():
    net = on_meta(lambda: Calls(lambda m, x: (m.a(x), m.a), a=nn.Linear(4, 3)))
    assert step(net, meta(1, 4)).guesses == ("not part of the assumed loss, since it cannot be read: Linear",)


def test_distributions_check_their_arguments_again_after_a_trace():
    before = distributions.Distribution._validate_args
    step(on_meta(lambda: Calls(lambda m, x: distributions.Normal(m.a(x), 1.0), a=nn.Linear(4, 3))), meta(1, 4))
    assert distributions.Distribution._validate_args is before
