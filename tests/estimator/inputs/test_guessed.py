"""Sizes that nobody gave: a guess is said beside the headline, and refused under `--strict`.

The ratios are hand arithmetic: a convolution with "same" padding has a FLOP count that goes as the pixels.
"""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from estimator import Scenario, estimate
from estimator.commands import main
from tests.estimator.tracing import on_meta


def pooled_cnn():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def flat_cnn():
    """28x28 alone fits its last layer."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 14 * 14, 10))


class Positions(nn.Module):
    """A learned place for each of at most 512 tokens."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(100, 16), nn.Embedding(512, 16)

    def forward(self, tokens):
        return self.words(tokens) + self.places.weight[: tokens.shape[1]]


GUESSED = {  # the sizes that it also runs at
    "pooled": (pooled_cnn, "3x112x112"),
    "words": (lambda: nn.Sequential(nn.Embedding(100, 16), nn.Linear(16, 4)), "tokens:256"),
    "at most so many tokens": (Positions, "tokens:256"),
    "recurrent": (lambda: nn.LSTM(8, 16, batch_first=True), "64x8"),
    "as wide as long": (lambda: nn.Transformer(512, 8, 1, 1, 64, batch_first=True), "256x512 512x512"),
    "signal": (lambda: nn.Conv1d(1, 4, 9), "1x8000"),
}


def _input(footprint):
    return next(a for a in footprint.assumptions if a.name == "input")


@pytest.mark.parametrize("name", GUESSED)
def test_a_guess_is_a_warning(name):
    make, other = GUESSED[name]
    footprint = estimate(on_meta(make), Scenario(hardware="a100"))
    assert _input(footprint).status == "default"
    (warning,) = footprint.input_warnings
    assert f"runs at {other} too" in warning and "--input" in warning


def test_the_guess_is_weighed():
    (warning,) = estimate(on_meta(pooled_cnn), Scenario(hardware="a100")).input_warnings
    assert "(0.25 times the FLOPs)" in warning


@pytest.mark.parametrize(
    ("make", "inputs", "status"),
    [(flat_cnn, (), "detected"), (lambda: nn.Linear(8, 4), (), "detected"), (pooled_cnn, ("3x32x32",), "given")],
)
def test_what_is_fixed_or_given_is_no_guess(make, inputs, status):
    footprint = estimate(on_meta(make), Scenario(hardware="a100", inputs=inputs))
    assert _input(footprint).status == status and not footprint.input_warnings


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for make in (pooled_cnn, flat_cnn):
        torch.save(make(), folder / f"{make.__name__}.pt")
    return folder


@pytest.mark.parametrize("command", [("model",), ("compare", "mlp:8x2x4")])
def test_strict(files, command):
    run = CliRunner().invoke
    guessed = run(main, [*command, str(files / "pooled_cnn.pt"), "--hardware", "a100", "--strict"])
    assert guessed.exit_code == 2 and guessed.stdout == ""
    (line,) = guessed.stderr.strip().splitlines()
    assert "pooled_cnn" in line and "3x224x224" in line and "--input" in line and "Traceback" not in line
    fixed = run(main, [*command, str(files / "flat_cnn.pt"), "--hardware", "a100", "--strict"])
    assert fixed.exit_code == 0, fixed.output
    given = run(main, ["model", str(files / "pooled_cnn.pt"), "--hardware", "a100", "--strict", "--input", "3x32x32"])
    assert given.exit_code == 0, given.output
