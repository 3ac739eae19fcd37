"""Code that the user names runs; what goes wrong in it is told with its line."""

from __future__ import annotations

import sys

import pytest
import torch

from estimator.sources import load
from estimator.sources.inputs import InputSpec
from tests.estimator.sources.conftest import refusal

CODE = """\
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.layer = nn.Linear(8, classes)

    def forward(self, x):
        return self.layer(x)

class Other: pass

def with_example():
    return Net(), torch.zeros(4, 8)

def with_named_example():
    return Net(), {"x": torch.zeros(4, 8, dtype=torch.long)}

def fails():
    raise RuntimeError("no\\nweights here")

def needs_values():
    float(torch.ones(1))
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.LSTM(3, 4))
    model[1].weight = model[0].weight
    return model

def huge():
    float(torch.ones(1))
    return nn.Linear(10**6, 10**6)

def leaves():
    sys.exit(3)

def number():
    return 3

def reads_arguments():
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=8)
    return Net(parser.parse_args().width)

def lazy():
    return nn.Sequential(nn.LazyLinear(3))

lazy_instance = nn.LazyLinear(3)

def needs_arguments(width):
    return Net(width)

def seventy_billion():
    return nn.Linear(264_576, 264_576)

instance = Net()
"""


@pytest.fixture
def code(written):
    return written("net.py", CODE)


@pytest.mark.parametrize("name", ["Net", "instance", "needs_values", "seventy_billion"])
def test_modules_on_meta(code, name):
    loaded = load(f"{code}:{name}")
    assert loaded.name == name and loaded.form.startswith("Python")
    assert all(p.is_meta for p in loaded.module.parameters())


def test_tied_weights_and_rnn_weights_survive_the_move(code):
    module = load(f"{code}:needs_values").module
    assert module[0].weight is module[1].weight
    assert all(weight.is_meta for weight in module[2]._flat_weights)


def test_a_factory_that_reads_arguments_sees_none_of_ours(code, monkeypatch):
    ours = ["estimate", f"{code}:reads_arguments", "--epochs", "3"]
    monkeypatch.setattr(sys, "argv", ours)
    assert isinstance(load(f"{code}:reads_arguments").module, torch.nn.Module)
    assert sys.argv is ours


@pytest.mark.parametrize("name", ["lazy", "lazy_instance"])
def test_lazy_layers(code, name):
    assert "model(example_input)" in refusal(f"{code}:{name}")


def test_example_inputs(code):
    loaded = load(f"{code}:with_example")
    assert loaded.inputs == (InputSpec((8,), example_batch=4),) and "example" in loaded.inputs_source
    assert load(f"{code}:with_named_example").inputs == (InputSpec((8,), "int64", "x", example_batch=4),)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fails", ["RuntimeError: no weights here", "net.py, line 22"]),
        ("huge", ["more than 4GB of memory", "--limit memory=16G"]),
        ("leaves", ["SystemExit"]),
        ("number", ["returns a int", "torch.nn.Module"]),
        ("needs_arguments", ["needs arguments (width)", "needs_arguments(width)", "--arg width=", "without arguments"]),
        ("Ne", ["has no Ne", "Net"]),
        ("Other", ["returns a Other"]),
    ],
)
def test_what_goes_wrong_is_told(code, name, words):
    message = refusal(f"{code}:{name}")
    assert all(word in message for word in words), message


def test_syntax_errors_and_missing_imports(written):
    assert "SyntaxError" in refusal(written("a.py", "def f(:") + ":f")
    message = refusal(written("b.py", "import torch\nimport not_there_at_all") + ":f")
    assert "not_there_at_all" in message and "b.py, line 2" in message


def test_a_python_file_alone_names_its_classes(code):
    message = refusal(code)
    assert "net.py:Net" in message and "name the class or function" in message


def test_a_module_of_the_working_directory(written, tmp_path, monkeypatch):
    written("my_nets_package/__init__.py", "")
    written("my_nets_package/small.py", CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    loaded = load("my_nets_package.small:Net")
    assert isinstance(loaded.module.layer, torch.nn.Linear)


def test_missing_file_and_module():
    assert "there is no file" in refusal("nowhere/net.py:Net")
    assert "no Python module nowhere_at_all" in refusal("nowhere_at_all.nets:Net")
