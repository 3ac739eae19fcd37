"""Example inputs of any nest. Expected FLOPs: hand arithmetic, 2 per multiply-accumulate."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

from estimator import JoulecastError, Scenario, estimate
from estimator.sources.examples import batch_dims, one_sample
from estimator.sources.factory import built
from estimator.workload.crosscheck import compare
from tests.estimator.tracing import on_meta


class DictIn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.table = nn.Conv2d(1, 4, 3, padding=1), nn.Embedding(10, 4)

    def forward(self, pyramid, label):
        up = functional.interpolate(self.conv(pyramid["256"]), scale_factor=2)
        return (self.conv(pyramid["512"]) + up).mean((2, 3)) + self.table(label)


class BatchDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(100, 32), nn.Linear(32, 5)

    def forward(self, batch):
        return {"logits": self.head((self.table(batch["ids"]) * batch["mask"][..., None]).mean(1))}


class ListIn(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 4) for _ in range(3))

    def forward(self, xs):
        return sum(layer(x) for layer, x in zip(self.layers, xs, strict=True))


class Rounds(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.update = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, a, b, rounds, mode=None):
        x = self.first(a) - self.first(b)
        for _ in range(rounds):
            x = x + self.update(x) if mode in (None, "tanh") else x
        return x


class Diffusion(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.time = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(1, 16)

    def forward(self, x, t):
        t = torch.as_tensor(t, device=x.device, dtype=x.dtype).expand(x.shape[0], 1)
        return self.conv(x) + self.time(t)[..., None, None]


@dataclass
class Graph:
    nodes: torch.Tensor
    edges: torch.Tensor
    name: str = "a graph"


class GraphNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 32)

    def forward(self, graph):
        found = self.layer(graph.nodes)
        return torch.zeros_like(found).index_add_(0, graph.edges[1], found[graph.edges[0]])


class WithState(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, num_layers=2, batch_first=batch_first)

    def forward(self, x, state):
        return self.lstm(x, state)[0]


def _dicts(batch):
    pictures = {"512": torch.zeros(batch, 1, 64, 64), "256": torch.zeros(batch, 1, 32, 32)}
    return pictures, torch.zeros(batch, dtype=torch.long)


_TEXT = {"ids": torch.zeros(3, 20, dtype=torch.long), "mask": torch.zeros(3, 20)}
_PICTURE = torch.zeros(2, 3, 32, 32)
_GRAPH = Graph(torch.zeros(100, 16), torch.zeros(2, 1000, dtype=torch.long))
_STATES = (torch.zeros(2, 4, 16), torch.zeros(2, 4, 16))
_CONV = 2 * 27 * 1024
LSTM = 10 * 2 * (4 * 16 * (8 + 16) + 4 * 16 * (16 + 16))
CASES = {
    "a dict beside a tensor": (DictIn, _dicts(1), 2 * 9 * 4 * (4096 + 1024)),
    "a dict beside a tensor, of five": (DictIn, _dicts(5), 2 * 9 * 4 * (4096 + 1024)),
    "a dict in a tuple": (BatchDict, (_TEXT,), 2 * 32 * 5),
    "a dict that is the only argument": (BatchDict, _TEXT, 2 * 32 * 5),
    "a list": (ListIn, ([torch.zeros(3, 8)] * 3,), 192),
    "a list that is the only argument": (ListIn, [torch.zeros(3, 8)] * 3, 192),
    "a number and a word": (Rounds, (_PICTURE, _PICTURE, 12, "tanh"), 2 * _CONV * 8 + 12 * 1024 * 2 * 9 * 64),
    "a number by name": (Rounds, {"a": _PICTURE, "b": _PICTURE, "rounds": 1}, 2 * _CONV * 8 + 1024 * 2 * 9 * 64),
    "None": (Rounds, (_PICTURE, _PICTURE, 1, None), 2 * _CONV * 8 + 1024 * 2 * 9 * 64),
    "a tensor without dimensions": (Diffusion, (_PICTURE, torch.tensor(5)), _CONV * 16 + 2 * 16),
    "a float": (Diffusion, (_PICTURE, 0.5), _CONV * 16 + 2 * 16),
    "a graph as a dataclass": (GraphNet, (_GRAPH,), 2 * 100 * 16 * 32),
    "states of a recurrent layer": (lambda: WithState(True), (torch.zeros(4, 10, 8), _STATES), LSTM),
    "states, steps first": (lambda: WithState(False), (torch.zeros(10, 4, 8), _STATES), LSTM),
}


@pytest.mark.parametrize("name", CASES)
def test_flops_of_one_sample(name):
    make, example, flops = CASES[name]
    footprint = estimate(on_meta(make), Scenario(hardware="a100"), example=example)
    assert footprint.inference_workload.flops_per_sample == flops
    assert footprint.training_workload.flops_per_sample > 1.9 * flops
    factory = estimate(built((on_meta(make), example), "net.py:f", ""), Scenario(hardware="a100"))
    assert factory.inference_workload.flops_per_sample == flops


def test_a_graph_is_one_sample_and_says_so():
    footprint = estimate(on_meta(GraphNet), Scenario(hardware="a100"), example=(_GRAPH,))
    assert footprint.training_workload.batch_size == 1
    (warning,) = footprint.input_warnings
    assert "100x16, 2x1000" in warning and "--no-batch" in warning
    assert not estimate(on_meta(GraphNet), Scenario(hardware="a100", no_batch=True), example=(_GRAPH,)).input_warnings


@pytest.mark.parametrize(
    ("shapes", "dims"),
    [
        ([(4, 8)], [0]),
        ([(4, 10, 8), (10, 10)], [0, None]),
        ([(1, 10, 8), (10, 10), (10,), ()], [0, None, None, None]),
        ([(4, 3, 8, 8), (5, 4)], [0, 1]),
        ([(10, 4, 8), (2, 4, 16), (2, 4, 16)], [1, 1, 1]),
        ([(1, 10, 8), (2, 1, 16)], [0, 1]),
        ([(8,), (8, 3, 8, 8)], [0, 0]),
    ],
)
def test_where_the_batch_stands(shapes, dims):
    assert not one_sample(shapes) and batch_dims(shapes) == dims


@pytest.mark.parametrize(
    ("shapes", "alone"),
    [
        ([(100, 16), (2, 1000)], True),
        ([(100, 16), (2, 1000), (1000, 4)], True),
        ([(1, 16), (7,)], False),
        ([(5, 16), (5,)], False),
        ([()], True),
    ],
)
def test_vectors_and_matrices_of_other_first_sizes_are_one_sample(shapes, alone):
    assert one_sample(shapes) is alone


def test_an_example_without_a_tensor_is_refused():
    with pytest.raises(JoulecastError, match="hold no tensor"):
        estimate(on_meta(GraphNet), Scenario(hardware="a100"), example=(3, None))


def test_torchs_counter_takes_the_nest_too():
    model = built((on_meta(BatchDict), (_TEXT,)), "net.py:f", "")
    assert sum((compare(model, model.inputs, "float32").torch or {}).values()) == 2 * 32 * 5
