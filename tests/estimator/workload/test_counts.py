"""Counts against published figures and hand arithmetic; which one, each test says."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from estimator.footprint import model_facts, workload_of
from estimator.inputs.chosen import chosen_inputs
from estimator.lifecycle.scenario import Scenario
from estimator.sources import LoadedModel, load
from tests.estimator.networks import TABLE_6, table_6


def _counts(model: LoadedModel, *inputs: str) -> tuple[int, float]:
    """(parameters, multiply-accumulates of one inference)"""
    scenario = Scenario(inputs=inputs)
    specs = chosen_inputs(model, scenario).specs
    workload = workload_of(model, specs, 1, scenario, training=False)
    return model_facts(model).parameters, workload.flops_per_sample / 2


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_accumulates"),
    [  # torchvision's published weights tables: num_params, GFLOPS (which count multiply-accumulates)
        ("resnet50", 25_557_032, 4.089e9),
        ("vgg16", 138_357_544, 15.470e9),
        ("vit_b_16", 86_567_656, 17.564e9),
        ("mobilenet_v2", 3_504_872, 0.301e9),
        ("efficientnet_b0", 5_288_548, 0.386e9),
    ],
)
def test_published_vision_models(name: str, parameters: int, multiply_accumulates: float) -> None:
    counted = _counts(load(f"torchvision:{name}"))
    assert counted[0] == parameters
    assert counted[1] == pytest.approx(multiply_accumulates, rel=0.01)


def _transformer_macs(width: int, layers: int, length: int) -> int:
    """Hand arithmetic: projections and a 4x wide MLP (12 width^2 a token and layer), QK^T and PV (2 length width)."""
    return layers * length * (12 * width**2 + 2 * length * width)


def test_bert_base() -> None:
    # Devlin et al. 2019: L=12, H=768, 110M parameters, with the head of its masked language model
    parameters, macs = _counts(load("transformers:bert"), "tokens:512")
    # the published 109,482,240 of bert-base-uncased less its pooler, with the head's layer, norm and biases
    assert parameters == 109_482_240 - (768**2 + 768) + (768**2 + 768) + 2 * 768 + 30_522
    assert macs == pytest.approx(_transformer_macs(768, 12, 512) + 512 * (768**2 + 768 * 30_522), rel=0.01)


def test_gpt2() -> None:
    # Radford et al. 2019, the smallest: 12 layers of 768; 50257 tokens; the head shares the embedding's weights
    parameters, macs = _counts(load("transformers:gpt2"), "tokens:1024")
    head = 1024 * 768 * 50257
    assert macs == pytest.approx(_transformer_macs(768, 12, 1024) + head, rel=0.01) or macs == pytest.approx(
        _transformer_macs(768, 12, 1024), rel=0.01
    )
    assert parameters == 124_439_808  # the published checkpoint gpt2


def test_lstm_by_hand() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(100, 256, num_layers=2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(512, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out, _ = self.lstm(x)
            return self.head(out)

    with torch.device("meta"):
        model = LoadedModel(Tagger(), "tagger", "nn.Module", None, "")
    # four gates; layer 1 sees 100 + 256, layer 2 sees 512 + 256; two directions; 20 steps; two biases a gate
    step = 2 * 4 * 256 * ((100 + 256) + (512 + 256))
    biases = 2 * 2 * 2 * 4 * 256
    parameters, macs = _counts(model, "20x100")
    assert parameters == step + biases + 512 * 10 + 10
    assert macs == 20 * (step + 512 * 10)


class OneBias(nn.Linear):
    """A linear layer with one bias for the whole layer: the only reading under which Table 5's numbers come out.

    With 100 inputs (as in Table 6), [75, 75, 50, 50, 25, 25, 1] has 21,275 weights and 7 layers, and the table says
    21,282; the other three rows agree in the same way. A bias per node, as Table 6 counts, would make it 21,576.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.one_bias = nn.Parameter(torch.empty(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.one_bias


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [  # Gitzel et al. 2023, Table 5
        ([25] * 12 + [1], 9_413),
        ([75, 75, 50, 50, 25, 25, 1], 21_282),
        ([75, 50, 25, 25, 50, 75, 1], 18_207),
        ([25, 25, 50, 50, 75, 75, 1], 16_332),
    ],
)
def test_table_5(sizes: list[int], parameters: int) -> None:
    widths = [100, *sizes]
    with torch.device("meta"):
        network = nn.Sequential(*(OneBias(a, b) for a, b in pairwise(widths)))
    counted, macs = _counts(LoadedModel(network, "mlp", "nn.Module", None, ""))
    assert counted == parameters
    assert macs == parameters - len(sizes)  # every weight once


@pytest.mark.parametrize(("layers", "size", "parameters", "_kwh"), TABLE_6)
def test_table_6(layers: int, size: int, parameters: int, _kwh: float) -> None:
    model = LoadedModel(table_6(layers, size), "mlp", "nn.Module", None, "")
    counted, macs = _counts(model)
    assert counted == parameters
    assert macs == 100 * size + (layers - 1) * size**2 + size  # every weight once, biases and activations not
