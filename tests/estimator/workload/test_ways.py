"""Conditions that only data would tell, both ways tried, and values that are known without data. Counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from estimator.base.errors import InputError
from tests.estimator.tracing import Calls, forward, meta, on_meta, step

BOUND = "(the dearer way: an upper bound)"


def _flops(*layers: tuple[int, int], rows: int = 1) -> int:
    return sum(2 * rows * i * o for i, o in layers)


class Decoder(nn.Module):
    """Up to 20 tokens, until every row has said the end token."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.words = nn.Linear(8, 8), nn.Linear(8, 30)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        said = []
        for _ in range(20):
            x = torch.tanh(self.cell(x))
            said.append(self.words(x))
            if (said[-1].argmax(-1) == 2).all():
                break
        return torch.stack(said, 1)


class Exits(nn.Module):
    """Leaves at the first layer that is sure."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList(nn.Linear(16, 16) for _ in range(4)), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).relu()
            if self.head(x).softmax(-1).max() > 0.9:
                break
        return self.head(x)


def test_a_loop_that_a_condition_may_leave_early_runs_to_its_end():
    decoder = forward(on_meta(Decoder), meta(1, 8))
    assert decoder.flops == 20 * _flops((8, 8), (8, 30))
    assert decoder.guesses == (f"a condition in the model: False {BOUND} (20 times)",)
    assert decoder.bound == "at most"
    assert forward(on_meta(Exits), meta(1, 16)).flops == 4 * _flops((16, 16), (16, 3)) + _flops((16, 3))


def test_the_dearer_way_is_taken_whichever_it_is():
    def call(m, x):
        return m.a(x) if x.sum() > 0 else m.b(x)

    for a, b, answer in ((4, 40, False), (40, 4, True)):
        net = on_meta(lambda a=a, b=b: Calls(call, a=nn.Linear(4, a), b=nn.Linear(4, b)))
        workload = step(net, meta(5, 4))
        assert workload.flops_of(phase="forward") == _flops((4, 40), rows=5)
        assert workload.guesses == (f"a condition in the model: {answer} {BOUND}",)


def test_ways_that_cost_the_same_bound_nothing():
    net = on_meta(lambda: Calls(lambda m, x: m.a(x) if x.sum() > 0 else m.b(x), a=nn.Linear(4, 4), b=nn.Linear(4, 4)))
    workload = forward(net, meta(5, 4))
    assert workload.guesses == ("a condition in the model: True",)
    assert workload.bound == "exact"


@pytest.mark.parametrize("bad", [True, False])
def test_where_one_way_raises_the_other_is_taken(bad):
    def call(m, x):
        for layer in (m.a, m.b):  # each its own condition's place in time, not in the code
            if (x.sum() > 0).item() is bad:
                raise ValueError("not so")
            x = layer(x)
        return x

    workload = forward(on_meta(lambda: Calls(call, a=nn.Linear(4, 4), b=nn.Linear(4, 4))), meta(5, 4))
    assert workload.flops == 2 * _flops((4, 4), rows=5)
    (guess,) = workload.guesses
    assert guess.startswith(f"a condition in the model: {not bad} (the dearest way tried that runs")


def test_where_conditions_must_differ_the_last_is_turned():
    def call(m, x):
        if not x.sum() > 0:
            raise ValueError("the first must hold")
        x = m.a(x)
        if x.sum() > 1:
            raise ValueError("the second must not")
        return m.b(x)

    workload = forward(on_meta(lambda: Calls(call, a=nn.Linear(4, 4), b=nn.Linear(4, 4))), meta(5, 4))
    assert workload.flops == 2 * _flops((4, 4), rows=5)


def test_two_conditions_whose_dearer_ways_differ_are_found_one_by_one():
    def call(m, x):
        if x.max() > 0:
            x = m.a(x)
        for _ in range(5):
            x = m.b(x)
            if x.min() < 0:
                break
        return x

    workload = forward(on_meta(lambda: Calls(call, a=nn.Linear(4, 4), b=nn.Linear(4, 4))), meta(5, 4))
    assert workload.flops == 6 * _flops((4, 4), rows=5)
    assert any("upper bound where they are independent" in guess for guess in workload.guesses)


def test_where_no_way_runs_the_first_error_is_told():
    def call(m, x):
        raise ValueError("yes fails" if m.a(x).sum() > 0 else "no fails")

    with pytest.raises(InputError, match="yes fails"):
        forward(on_meta(lambda: Calls(call, a=nn.Linear(4, 4))), meta(5, 4))


# ---- values that are known


class Known(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.large = nn.Linear(4, 4), nn.Linear(4, 400)
        self.register_buffer("steps", torch.tensor(3))


def _of(call):
    net = Known()
    net.forward = lambda *args: call(net, *args)
    return forward(net, meta(5, 4))


@pytest.mark.parametrize(
    "asks",
    [
        lambda m, x: (torch.zeros_like(x) > 0).any(),  # a default mask
        lambda m, x: (torch.ones(5, 4, device=x.device) == 0).any().item(),
        lambda m, x: torch.arange(5, device=x.device).cumsum(0)[-1] > 10,  # 0 + 1 + 2 + 3 + 4 is 10
        lambda m, x: m.steps > 3,  # a buffer keeps its value
        lambda m, x: m.steps.item() != 3,
        lambda m, x: len(x.new_zeros(5).nonzero()),
        lambda m, x: m.steps > 3 or len(x[torch.zeros(5, dtype=torch.bool, device=x.device)]),  # no row selected
        lambda m, x: x.new_zeros(5)[1:].add_(1).sum() > 4,  # written through a view
        lambda m, x: torch.equal(torch.zeros(3), torch.ones(3)),
        lambda m, x: torch.tensor([1, 2, 3]).tolist() != [1, 2, 3],
    ],
)
def test_known_values_are_no_guesses(asks):
    workload = _of(lambda m, x: m.large(x) if asks(m, x) else m.a(x))
    assert workload.flops == _flops((4, 4), rows=5)
    assert workload.guesses == ()


@pytest.mark.parametrize(
    "asks",
    [
        lambda m, x: (torch.zeros_like(x) + x > 0).any(),
        lambda m, x: torch.zeros(5, device=x.device).add_(x.sum()).sum() > 0,  # written over by data
        lambda m, x: _written_by_a_view(x).sum() > 0,
        lambda m, x: torch.rand(5, device=x.device).sum() > 2,
        lambda m, x: torch.zeros(2000, 2000, device=x.device).sum() > 2,  # too large to be worked out
        lambda m, x: torch.empty_like(torch.zeros(3, device=x.device)).sum() > 2,
    ],
)
def test_what_depends_on_data_or_chance_stays_unknown(asks):
    workload = _of(lambda m, x: m.large(x) if asks(m, x) else m.a(x))
    assert workload.flops == _flops((4, 400), rows=5)
    assert workload.guesses == (f"a condition in the model: True {BOUND}",)


def _written_by_a_view(x):
    held = torch.zeros(5, device=x.device)
    held[1:].copy_(x[1:, 0])
    return held


def test_buffers_count_on_their_stand_ins_alone():
    def call(m, x):
        m.steps += 1
        return m.large(x) if m.steps > 4 else m.a(x)

    net = Known()
    net.forward = lambda x: call(net, x)
    assert forward(net, meta(5, 4)).flops == forward(net, meta(5, 4)).flops == _flops((4, 4), rows=5)
    assert net.steps.item() == 3


# ---- how guesses bound the count


@pytest.mark.parametrize(
    ("call", "bound"),
    [
        (lambda m, x: m.a(x), "exact"),
        (lambda m, x: m.a(x[x > 0]), "at most"),
        (lambda m, x: m.a(torch.masked_select(x, x > 0)), "at most"),
        (lambda m, x: m.a(torch.nonzero(x).float()[:, 0]), "at most"),
        (lambda m, x: m.a(x.flatten()[: x.argmax().item()].repeat(4)), "at least"),  # a length of 1
        (lambda m, x: m.a(x) * x.sum().item(), "about"),  # what a floating number is for is not known
        (lambda m, x: m.a(torch.repeat_interleave(x[:, 0], x[:, 0].long())), "about"),
        (lambda m, x: m.a(x[x > 0])[: x.argmax().item()], "about"),  # both
    ],
)
def test_guesses_bound_the_count(call, bound):
    assert forward(Calls(call, a=nn.Identity()), meta(4, 4)).bound == bound


def test_a_cut_loop_is_at_least_its_rounds():
    def counted(m, x):
        left = x.argmax()
        while left.item():
            x = m.a(x)
        return x

    assert forward(on_meta(lambda: Calls(counted, a=nn.Linear(4, 4))), meta(2, 4)).bound == "at least"
