"""What is no PyTorch model is told in one sentence with a remedy; TorchScript needs trust."""

from __future__ import annotations

import io
import os
import pickle
import stat
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from estimator.sources import load
from estimator.workload.trace import TraceInputs, trace
from tests.estimator.sources.conftest import refusal


def archive(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return stream.getvalue()


FOREIGN = {
    "empty.pt": (b"", "is empty"),
    "weights.safetensors": (struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}}', "safetensors"),
    "sklearn.pkl": (pickle.dumps({"a": 1}), "plain pickle"),
    "array.npy": (b"\x93NUMPY\x01\x00", "NumPy array"),
    "arrays.npz": (archive(arr_0__npy=b"x"), "NumPy or Keras"),
    "model.onnx": (b"\x08\x07\x12\x07pytorch", "ONNX"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "llama.gguf": (b"GGUF\x03\x00\x00\x00", "GGUF"),
    "model.tflite": (b"\x1c\x00\x00\x00TFL3" + b"\0" * 8, "TensorFlow Lite"),
    "other.zip": (archive(readme="hello"), "zip archive that torch did not write"),
    "empty.zip": (archive(), "is empty"),
    "packed.pt.gz": (b"\x1f\x8b\x08\x00", "unpack it"),
    "page.pt": (b"<html>not found</html>", "text file"),
    "noise.pt": (bytes(range(1, 256)), "no model file that is known"),
    "compiled.pt2": (archive(archive_format=b"pt2"), "compiled code"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files(written, name):
    content, word = FOREIGN[name]
    message = refusal(written(name, content))
    assert word in message and ":" in message


def test_missing_and_unreadable(tmp_path, written):
    assert "no file or directory" in refusal(str(tmp_path / "missing.pt"))
    assert "no model is named" in refusal("  ")
    assert "no model is named" in refusal("a\0b")
    assert "a" in refusal("a" * 5000)
    path = written("secret.pt", b"PK")
    Path(path).chmod(0)
    if not os.access(path, os.R_OK):
        assert "permissions" in refusal(path)
    Path(path).chmod(stat.S_IRWXU)


@pytest.mark.skipif(
    not hasattr(os, "mkfifo"),
    reason="no named pipes here: run `pytest tests/estimator/sources/test_foreign_files.py` on Linux",
)
def test_pipes_and_devices(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    assert "pipe" in refusal(str(tmp_path / "pipe.pt"))
    assert "device" in refusal(os.devnull)


class Branches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.rnn = torch.nn.Linear(8, 8), torch.nn.LSTM(8, 3)

    def forward(self, x):
        if x.shape[0] > 1:
            x = x * 2
        return self.rnn(self.layer(x).relu())[0]


def test_torchscript_needs_trust_and_then_traces(tmp_path):
    path = str(tmp_path / "scripted.pt")
    torch.jit.save(torch.jit.script(Branches()), path)
    message = refusal(path)
    assert "TorchScript" in message and "--trust" in message and "torch.export.save" in message
    loaded = load(path, trust=True)
    assert loaded.form == "TorchScript"
    assert dict(loaded.module.named_parameters()).keys() == dict(Branches().named_parameters()).keys()
    inputs = TraceInputs((torch.empty(4, 2, 8, device="meta"),), {}, 2)
    counts = [sum(op.flops for op in trace(loaded.module, inputs, optimizer="sgd").ops) for _ in range(2)]
    assert counts[0] == counts[1] > 0
