"""Configs of model directories made to do harm: what they name is not opened, what they count is bounded, and what a
library raises about them is one sentence.
"""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from torch import nn

from estimator.base.errors import InputError
from estimator.sources import load
from estimator.sources.guessing import guess_inputs
from tests.security.conftest import attacks


@pytest.fixture
def directory(tmp_path):
    """Writes a model directory with one config."""

    def write(**config) -> str:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "config.json").write_text(json.dumps(config))
        return str(tmp_path / "model")

    return write


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg_overlay", "pretrained_cfg"])
def test_a_checkpoint_that_a_config_names_is_not_opened(directory, tmp_path, canary, monkeypatch, key):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(pickle.dumps(attacks(canary)["exec"]))
    monkeypatch.chdir(tmp_path)
    value = str(weights) if key == "checkpoint_path" else {"file": str(weights), "url": str(weights)}
    model_args = {key: value, "pretrained": True}
    config = {"model_type": "timm_wrapper", "architecture": "resnet18", "num_classes": 7, "model_args": model_args}
    loaded = load(directory(**config))
    assert not canary.exists()
    assert any(key in note and "nothing that a config names is opened" in note for note in loaded.notes)
    assert sum(p.numel() for p in loaded.module.parameters()) == 11_689_512 - 513_000  # without a head


def test_a_setting_that_the_architecture_does_not_have_is_left_out_and_said(directory):
    loaded = load(directory(model_type="bert", hidden_size=48, num_attention_heads=4, num_hidden_layers=1, my_file="x"))
    assert any("my_file" in note for note in loaded.notes)
    assert loaded.module.config.hidden_size == 48


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "albert", "num_hidden_layers": 2, "inner_group_num": 10**9},
        {"model_type": "swin", "depths": [15_000] * 10_000},
        {"model_type": "levit", "image_size": 10**9},
        {"model_type": "bert", "hidden_size": None},
        {"model_type": "bert", "num_hidden_layers": 10**9},
    ],
    ids=lambda config: str(config["model_type"]),
)
def test_sizes_that_no_model_has_are_refused(directory, refused, config):
    refused(directory(**config))


def test_a_layer_without_its_sizes_is_told_in_a_sentence():
    with torch.device("meta"):
        layer = nn.Linear(4, 4)
    del layer.in_features
    with pytest.raises(InputError, match=r"does not tell its sizes.*--input"):
        guess_inputs(nn.Sequential(layer))
