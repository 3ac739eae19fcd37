"""Weights beside their settings: safetensors files and the folders of trainers. Parameters are hand arithmetic."""

from __future__ import annotations

import json
import struct

import pytest
import torch

from estimator.base.errors import ModelFileError
from estimator.sources import check, load
from estimator.sources.arguments import given
from tests.estimator.sources.conftest import refusal

BERT = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
CODE = "from torch import nn\ndef net(width=4): return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))\n"


def safetensors(**shapes: list[int]) -> bytes:
    """A file of such tensors: a header, and no bytes after it, which are not read."""
    tensors = {name.replace("__", "."): {"dtype": "F32", "shape": shape} for name, shape in shapes.items()}
    header = json.dumps({"__metadata__": {"format": "pt"}} | tensors).encode()
    return struct.pack("<Q", len(header)) + header


FIRST = {"0__weight": [4, 3], "0__bias": [4]}
SECOND = {"1__weight": [2, 4], "1__bias": [2]}


def test_a_config_beside_the_weights_tells_the_model(written, tmp_path):
    written("checkpoint-500/config.json", BERT)
    names = ("model.safetensors", "model-00001-of-00002.safetensors")
    for path in (written(f"checkpoint-500/{name}", safetensors(**FIRST)) for name in names):
        check(path)
        loaded = load(path)
        assert loaded.name == "checkpoint-500" and loaded.form == "Hugging Face config"
    torch.save({"a": torch.zeros(3)}, tmp_path / "checkpoint-500" / "pytorch_model.bin")
    assert load(str(tmp_path / "checkpoint-500" / "pytorch_model.bin")).name == "checkpoint-500"
    assert load(str(tmp_path / "checkpoint-500")).name == "checkpoint-500"


def test_the_folder_of_a_training_names_its_last_checkpoint(written, tmp_path):
    for step in (500, 1000):
        written(f"out/checkpoint-{step}/config.json", BERT)
    assert "out/checkpoint-1000`" in refusal(str(tmp_path / "out"))


def test_weights_without_a_config_lead_to_the_code(written):
    path = written("model.safetensors", safetensors(**FIRST, **SECOND))
    message = refusal(path)
    assert "4 tensors, 26 parameters" in message and "file.py:Net --checkpoint" in message
    written("own/config.json", {"width": 4})  # of a project of one's own
    assert "weights only" in refusal(written("own/model.safetensors", safetensors(**FIRST)))


@pytest.mark.parametrize("named", ["folder", "part"])
def test_sharded_weights_are_compared_with_the_code(written, tmp_path, named):
    code = written("net.py", CODE) + ":net"
    written("saved/model-00002-of-00002.safetensors", safetensors(**SECOND))
    part = written("saved/model-00001-of-00002.safetensors", safetensors(**FIRST))
    checkpoint = part if named == "part" else str(tmp_path / "saved")
    assert load(code, given=given([], checkpoint)).module[0].out_features == 4
    with pytest.raises(ModelFileError, match=r"0\.weight is 4x3 there and 5x3 here"):
        load(code, given=given(["width=5"], checkpoint))


def test_one_name_of_a_tied_weight_is_enough(written):
    code = "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    code += "        self.a, self.b = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)\n"
    code += "        self.b.weight = self.a.weight"
    spec = written("tied.py", code) + ":Net"
    for name in ("a__weight", "b__weight"):
        checkpoint = written("model.safetensors", safetensors(**{name: [5, 3]}))
        assert load(spec, given=given([], checkpoint)).module.b.weight.shape == (5, 3)
    other = written("model.safetensors", safetensors(c__weight=[5, 3]))
    for named in (spec, written("none.py", "from torch.nn import ReLU") + ":ReLU"):
        with pytest.raises(ModelFileError, match="another model"):
            load(named, given=given([], other))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors", safetensors(**FIRST), ["only weights (model.safetensors)", "--checkpoint"]),
        ("last.ckpt", b"x", ["name the file", "last.ckpt`"]),
        ("zero_to_fp32.py", b"", ["DeepSpeed"]),
        ("pytorch_model_0/__0_0.distcp", b"", ["dcp_to_torch"]),
        ("notes.txt", b"", ["save_pretrained"]),
    ],
)
def test_folders_without_a_config_say_what_they_hold(written, tmp_path, name, content, words):
    written(f"state/{name}", content)
    message = refusal(str(tmp_path / "state"))
    assert all(word in message for word in words), message


def test_a_config_of_timm(written):
    path = written("hub/config.json", {"architecture": "resnet18", "num_classes": 10})
    assert "`estimate timm:resnet18`" in refusal(path)


@pytest.mark.parametrize("content", [struct.pack("<Q", 99) + b'{"a":', struct.pack("<Q", 12) + b'{"a":{"b":1}}'[:12]])
def test_damaged_headers_are_told(written, content):
    assert "damaged" in refusal(written("model.safetensors", content + b" " * 3))
    shape = json.dumps({"a": {"shape": [-1]}}).encode()
    assert "damaged" in refusal(written("b.safetensors", struct.pack("<Q", len(shape)) + shape))
