"""The memo changes nothing: with it and without it a trace gives the same workload."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.estimator.tracing import Calls, forward, meta, named, on_meta, step


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(x))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = functional.relu(x + conv(x))
        return x


def _products(m, x):
    y = m.a(x)
    z = m.a(x)
    return y * y + y * z + z * z + y.t().matmul(z).sum()


def _shared(m, x):
    for _ in range(4):
        x = m.a(x).relu_()
    return x


def _masked(m, x):
    return m.a(x)[x[:, 0] > 0].sum(0, keepdim=True) + m.a(x[:2])


NETS = {
    "lstm": (lambda: Calls(lambda m, x: m.a(x)[0], a=nn.LSTM(8, 16, num_layers=2)), (3, 5, 8)),
    "attention": (Attention, (2, 6, 16)),
    "residual": (Residual, (2, 8, 6, 6)),
    "shared": (lambda: Calls(_shared, a=nn.Linear(8, 8)), (4, 8)),
    "products": (lambda: Calls(_products, a=nn.Linear(8, 8)), (8, 8)),
    "masked": (lambda: Calls(_masked, a=nn.Linear(8, 8)), (4, 8)),
}


def _facts(workload):
    """All that a workload says: two of them are told apart by identity."""
    told = {field.name: getattr(workload, field.name) for field in fields(workload)}
    lives = told.pop("allocations").lifetimes
    return told, {field.name: list(np.atleast_1d(getattr(lives, field.name))) for field in fields(lives)}


def _without(monkeypatch):
    monkeypatch.setattr("estimator.workload.recorder.call_key", lambda func, args, kwargs: None)


@pytest.mark.parametrize("run", [forward, step])
@pytest.mark.parametrize("name", NETS)
def test_the_memo_changes_nothing(monkeypatch, name, run):
    build, shape = NETS[name]
    net = on_meta(build)
    remembered = run(net, meta(*shape))
    _without(monkeypatch)
    assert _facts(run(net, meta(*shape))) == _facts(remembered)
    assert len(remembered.ops) > 2


def test_the_same_tensor_twice_is_read_once(monkeypatch):
    net = Calls(lambda _, x, y: (x * x, x * y, y * y, y * x))
    remembered = forward(net, meta(3, 4), meta(3, 4))
    assert [op.bytes_read for op in named(remembered, "mul")] == [48, 96, 48, 96]  # 3 x 4 x 4 bytes
    _without(monkeypatch)
    assert _facts(forward(net, meta(3, 4), meta(3, 4))) == _facts(remembered)


def test_equal_numbers_of_unlike_types_are_told_apart(monkeypatch):
    net = Calls(lambda _, x: (x + 1, x + 1.0, x + True, x + 1))
    remembered = forward(net, meta(3, 4, dtype=torch.int64))
    assert [op.bytes_written for op in named(remembered, "add")] == [96, 48, 96, 96]  # int64, but float32 for 1.0
    _without(monkeypatch)
    assert _facts(forward(net, meta(3, 4, dtype=torch.int64))) == _facts(remembered)
