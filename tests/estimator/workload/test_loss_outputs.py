"""Outputs that are no containers: their tensors are part of the loss, and what cannot be read is said.

FLOPs are hand arithmetic: 2 per multiply-accumulate; a layer's backward pass costs twice its forward pass, or once
where its input asks for no gradient.
"""

from __future__ import annotations

import types

import pytest
import torch
from torch import distributions, nn

from estimator.workload.loss import assumed_loss, unread_outputs
from tests.estimator.tracing import Calls, meta, on_meta, step

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
