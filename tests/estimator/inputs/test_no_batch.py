"""Inputs without a batch dimension. Expected FLOPs: hand arithmetic, 2 per multiply-accumulate."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from estimator import JoulecastError, Scenario, estimate
from estimator.inputs.chosen import chosen_inputs
from estimator.sources.factory import built
from estimator.sources.inputs import InputSpec
from tests.estimator.tracing import on_meta

_POINTS = 1024
CLOUD = 2 * _POINTS * (3 * 64 + 64 * 256) + 2 * 256 * 10
GRAPH = 2 * 100 * (16 * 32 + 32 * 7)


class PointMLP(nn.Module):
    """One cloud, (points, 3), and the largest of each feature."""

    def __init__(self):
        super().__init__()
        self.each, self.all = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 256)), nn.Linear(256, 10)

    def forward(self, points):
        return self.all(self.each(points).max(0).values)


class GraphNet(nn.Module):
    """Nodes, (nodes, 16), and edges, (2, edges)."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 7)

    def _passed(self, x, edges):
        return torch.zeros_like(x).index_add_(0, edges[1], x[edges[0]])

    def forward(self, x, edges):
        return self._passed(self.second(self._passed(self.first(x), edges).relu()), edges)


def _graph_with_example():
    return on_meta(GraphNet), (torch.zeros(100, 16), torch.zeros(2, 1000, dtype=torch.long))


CASES = {
    "cloud": (lambda: on_meta(PointMLP), ("1024x3",), CLOUD),
    "cloud with an example": (lambda: built((on_meta(PointMLP), torch.zeros(_POINTS, 3)), "net.py:f", ""), (), CLOUD),
    "graph": (lambda: on_meta(GraphNet), ("100x16", "int64:2x1000"), GRAPH),
    "graph with an example": (lambda: built(_graph_with_example(), "net.py:f", ""), (), GRAPH),
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_one_sample(name):
    make, inputs, flops = CASES[name]
    footprint = estimate(make(), Scenario(hardware="a100", inputs=inputs, no_batch=True))
    assert footprint.inference_workload.flops_per_sample == flops
    assert 2 * flops < footprint.training_workload.flops_per_sample <= 3 * flops
    batch_sizes = {a.name: (a.value, a.source) for a in footprint.assumptions if "batch" in a.name}
    assert batch_sizes == dict.fromkeys(("batch_size", "inference_batch_size"), (1, "--no-batch"))


def test_torchs_counter_on_real_tensors_agrees():
    for net, inputs, flops in (
        (PointMLP(), (torch.zeros(_POINTS, 3),), CLOUD),
        (GraphNet(), (torch.zeros(100, 16), torch.zeros(2, 1000, dtype=torch.long)), GRAPH),
    ):
        with FlopCounterMode(display=False) as counter:
            net(*inputs)
        assert counter.get_total_flops() == flops


@pytest.mark.parametrize("said", [{"batch_size": 32}, {"inference_batch_size": 2}, {"inputs": ("512xBx64",)}])
def test_contradictions_are_refused(said):
    with pytest.raises(JoulecastError, match="--no-batch"):
        Scenario(no_batch=True, **said)


def test_all_sizes_of_an_example_are_the_samples():
    model = built((on_meta(PointMLP), torch.zeros(7, 3)), "net.py:f", "")
    assert chosen_inputs(model, Scenario(no_batch=True)).specs == (InputSpec((7, 3), batch_dim=None),)


def _exported(folder, module, *inputs):
    program = torch.export.export(module.eval(), inputs)
    torch.export.save(program, folder / "model.pt2")
    return str(folder / "model.pt2")


def test_an_export_of_a_graph_is_one_sample(tmp_path):
    path = _exported(tmp_path, GraphNet(), torch.zeros(100, 16), torch.zeros(2, 1000, dtype=torch.long))
    told = estimate(path, Scenario(hardware="a100"))
    said = estimate(path, Scenario(hardware="a100", no_batch=True))
    for footprint in (told, said):
        assert footprint.inference_workload.flops_per_sample == GRAPH
        assert footprint.training_workload.batch_size == 1
    assert "--no-batch" in told.input_warnings[0] and not said.input_warnings


def test_an_export_with_a_fixed_batch_may_be_one_sample(tmp_path):
    path = _exported(tmp_path, PointMLP(), torch.zeros(_POINTS, 3))
    footprint = estimate(path, Scenario(hardware="a100", no_batch=True))
    assert footprint.inference_workload.flops_per_sample == CLOUD
    assert not any("fixed batch" in warning for warning in footprint.warnings)


@pytest.mark.parametrize(("batch_first", "batch"), [(False, 3), (True, 10)])
def test_an_exported_recurrent_layer_tells_its_batch(tmp_path, batch_first, batch):
    path = _exported(tmp_path, nn.LSTM(8, 16, batch_first=batch_first), torch.zeros(10, 3, 8))
    footprint = estimate(path, Scenario(hardware="a100"))
    assert footprint.inference_workload.batch_size == batch
    assert footprint.inference_workload.flops_per_sample == 30 // batch * 2 * 4 * 16 * (8 + 16)
