"""`--arg` and `--checkpoint` of `estimate compare`: they go to the models that are code."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from estimator.commands import main

CODE = """\
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(8, width)

    def forward(self, x):
        return self.layer(x)
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "net.py").write_text(CODE)
    weights = {"layer.weight": torch.zeros(5, 8), "layer.bias": torch.zeros(5)}
    torch.save({"state_dict": weights, "hyper_parameters": {"width": 5}}, tmp_path / "last.ckpt")
    torch.save(nn.Linear(8, 3), tmp_path / "other.pt")
    return tmp_path


def _compared(*words):
    return CliRunner().invoke(main, ["compare", *map(str, words), "--hardware", "a100", "--json"])


@pytest.mark.parametrize(("option", "value", "width"), [("--arg", "width=4", 4), ("--checkpoint", "last.ckpt", 5)])
def test_arguments_go_to_the_models_that_are_code(code, option, value, width):
    value = code / value if option == "--checkpoint" else value
    done = _compared(f"{code}/net.py:Net", code / "other.pt", option, value)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["models"]
    assert {row["name"]: row["model"]["parameters"] for row in rows} == {"Net": 9 * width, "other": 9 * 3}


def test_without_code_they_are_refused(code):
    done = _compared(code / "other.pt", "--arg", "width=4")
    assert done.exit_code == 2 and "no model is one" in done.output
