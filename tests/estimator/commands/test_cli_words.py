"""The words of the command line: spellings that people use, and mistakes that are told at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from estimator.commands import main

CPU = ("--hardware", "i9-9900k")


@pytest.fixture(scope="module")
def conv(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("models") / "model.pt"
    torch.save(nn.Conv2d(3, 4, 3), path)
    return str(path)


def _answer(model: str, *args: str) -> dict[str, object]:
    result = CliRunner().invoke(main, [model, *CPU, *args, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        (("--dtype", "BF16"), ("--dtype", "bfloat16")),
        (("--optimizer", "SGD"), ("--optimizer", "sgd")),
        (("--samples", "100k", "--epochs", "1e1"), ("--samples", "100000", "--epochs", "10")),
        (("--inferences", "1.2M", "--batch-size", "1k"), ("--inferences", "1200000", "--batch-size", "1000")),
    ],
)
def test_spellings_are_the_plain_words(conv, typed, plain):
    assert _answer(conv, *typed) == _answer(conv, *plain)


@pytest.mark.parametrize("shape", ["3,32,32", "(3, 32, 32)", "[3,32,32]", "input=(3,32,32)"])
def test_a_tuple_is_a_shape(conv, shape):
    told = _answer(conv, "--input", shape)["workload"]
    assert told == _answer(conv, "--input", "3x32x32")["workload"]


@pytest.mark.parametrize("command", ["", *main.commands])
def test_h_is_help(command):
    short, long = (CliRunner().invoke(main, [*command.split(), option]) for option in ("-h", "--help"))
    assert short.exit_code == 0 and short.output == long.output


@pytest.mark.parametrize("text", ["many", "1.5kk", "k", "1,5"])
def test_what_is_no_number_is_told_with_examples(conv, text):
    result = CliRunner().invoke(main, [conv, "--samples", text])
    assert result.exit_code == 2 and "100k" in result.stderr and "--samples" in result.stderr


MISTAKES = [
    (["no-such-model.pt"], "no file or directory"),
    (["no_such_word"], "no file or directory"),
    (["model", "{here}/moddel.pt"], "model.pt"),
    (["{here}/empty.pt"], "is empty"),
    (["{here}/notes.pt"], "text file"),
    (["{here}/nothing.py:Net"], "nothing.py"),
    (["{here}/model.pt", "--hardware", "rtx-2081-ti"], "nvidia-rtx-2080-ti"),
    (["{here}/model.pt", "--hardware", "a100", "--clock-mhz", "1"], "--clock-mhz"),
    (["{here}/model.pt", "--region", "atlantis"], "--carbon-intensity"),
    (["{here}/model.pt", "--dtype", "float8"], "--dtype"),
    (["{here}/model.pt", "--optimizer", "lion"], "--optimizer"),
    (["{here}/model.pt", "--samples", "many"], "--samples"),
    (["{here}/model.pt", "--input", "x"], "--input"),
    (["{here}/model.pt", "--no-such-option"], "--no-such-option"),
    (["compare", "a.pt", "b.pt", "--hardware", "rtx-2081-ti"], "nvidia-rtx-2080-ti"),
    (["compare", "a.pt", "b.pt", "--sweep", "colour=red"], "--sweep"),
    (["search", "space.py", "--dtype", "float8"], "--dtype"),
]


@pytest.mark.parametrize(("args", "said"), MISTAKES)
def test_mistakes_are_told(tmp_path, args, said):
    result = CliRunner().invoke(main, _with_files(tmp_path, args))
    assert result.exit_code == 2 and said in result.stderr and result.stdout == ""


def test_mistakes_are_told_before_torch_is_imported(tmp_path):
    code = f"""
import sys
from click.testing import CliRunner
from estimator.commands import main
for args in {[_with_files(tmp_path, args) for args, _ in MISTAKES]!r}:
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 2, (args, done.output)
    assert "torch" not in sys.modules, args
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _with_files(folder, args):
    """`args` in a folder that holds a model file, an empty one and a text; the model is never read."""
    (folder / "model.pt").write_bytes(b"PK")
    (folder / "empty.pt").touch()
    (folder / "notes.pt").write_text("a text")
    return [arg.format(here=folder) for arg in args]
