"""The size of a model's pictures. Expected: what the processors of transformers make of a picture of 640x480."""

from __future__ import annotations

import json

import pytest

from estimator import JoulecastError, Scenario
from estimator.inputs.chosen import chosen_inputs
from estimator.sources import load
from estimator.sources.inputs import is_assumed
from estimator.sources.libraries import config_bounds
from estimator.sources.libraries.picture_sizes import of_processor

_SMALL = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
DETR = {"model_type": "detr", "architectures": ["DetrForObjectDetection"], **_SMALL}
VIT = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "num_hidden_layers": 1, "image_size": 384}
OWL = {
    "model_type": "owlvit",
    "architectures": ["OwlViTForObjectDetection"],
    "vision_config": {"image_size": 768, "patch_size": 32, "num_hidden_layers": 1},
    "text_config": {"num_hidden_layers": 1},
}
RESNET = {"model_type": "resnet", "architectures": ["ResNetForImageClassification"], "depths": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, (800, 1066)),
        ({"size": 800, "max_size": 1333}, (800, 1066)),
        ({"size": {"shortest_edge": 800, "longest_edge": 900}}, (675, 900)),
        ({"size": {"height": 768, "width": 768}}, (768, 768)),
        ({"size": {"height": 480, "width": 640}}, (480, 640)),
        ({"size": 224}, (224, 224)),
        ({"size": [384, 512]}, (384, 512)),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True},
            (224, 224),
        ),
        ({"size": 256, "crop_size": 224, "do_center_crop": True}, (224, 224)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384)),
        ({"size": 224, "do_resize": False}, None),
        ({"size": {"max_height": 5}}, None),
        ({"size": -3}, None),
        ({"size": True}, None),
        ({"size": {"height": 10**9, "width": 4}}, None),
        ({}, None),
    ],
)
def test_what_a_processor_makes_of_a_picture(settings, size):
    assert of_processor(settings) == size


@pytest.mark.parametrize(
    ("config", "processor", "shape", "assumed"),
    [
        (DETR, {"size": 800, "max_size": 1333}, (3, 800, 1066), False),
        (DETR, None, (3, 800, 1066), True),
        (VIT, None, (3, 384, 384), False),
        (VIT, {"size": {"height": 224, "width": 224}}, (3, 224, 224), False),
        (OWL, None, (3, 768, 768), True),  # of its 16 tokens
        (RESNET, {"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (3, 224, 224), False),
        (RESNET, None, (3, 224, 224), True),
    ],
)
def test_sizes_of_a_directory(written, config, processor, shape, assumed):
    path = written("model/config.json", config)
    if processor is not None:
        written("model/preprocessor_config.json", processor)
    chosen = chosen_inputs(load(path), Scenario())
    assert {spec.name: spec.shape for spec in chosen.specs}["pixel_values"] == shape
    assert is_assumed(chosen.assumption.source) is assumed
    assert ("preprocessor_config.json" in chosen.assumption.source) is (processor is not None)


@pytest.mark.parametrize("text", ["", "[1]", "{", json.dumps({"size": "large"})])
def test_a_processor_that_is_not_read_is_no_error(written, text):
    path = written("model/config.json", VIT)
    written("model/preprocessor_config.json", text)
    assert chosen_inputs(load(path), Scenario()).specs[0].shape == (3, 384, 384)


def test_a_list_of_floats_is_no_count_of_layers():
    config_bounds.check({"layer_rope_theta": [10000.0] * 40, "layer_types": ["a"] * 40}, "config.json")
    with pytest.raises(JoulecastError, match="more than 100k layers"):
        config_bounds.check({"layers": [10000] * 40}, "config.json")
