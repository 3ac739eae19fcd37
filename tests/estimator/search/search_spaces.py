"""Search spaces for tests, as functions of this module, so that worker processes find them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from torch import nn


def mlps(trial) -> nn.Module:
    """2 to 4 layers of 8 or 16."""
    layers, width = [], 10
    for i in range(trial.suggest_int("layers", 2, 4)):
        wider = trial.suggest_categorical(f"width_{i}", [8, 16])
        layers += [nn.Linear(width, wider), nn.ReLU()]
        width = wider
    return nn.Sequential(*layers, nn.Linear(width, 3))


def one_linear(trial) -> nn.Module:
    """Always the same layer, whatever is drawn."""
    trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    return nn.Linear(10, 3)


def six_points(trial) -> nn.Module:
    """A grid of 2 x 3."""
    trial.suggest_categorical("a", [1, 2])
    return nn.Linear(10, trial.suggest_int("width", 1, 3))


def own_amounts(trial) -> nn.Module:
    """A trial's own epochs, samples and batch size."""
    trial.set_user_attr("epochs", 3)
    trial.set_user_attr("samples", 500)
    trial.suggest_categorical("batch_size", [50])
    return nn.Linear(10, 3)


def third_fails(trial) -> nn.Module:
    trial.suggest_int("x", 0, 1)
    if trial.number == 2:
        raise RuntimeError("no such net")
    return nn.Linear(10, 3)


def wrong_shape(trial) -> nn.Module:
    return nn.Sequential(nn.Linear(10, 4), nn.Linear(5, 3)) if trial.suggest_int("x", 0, 1) else nn.Linear(10, 3)


def always_fails(trial) -> nn.Module:
    raise KeyError(trial.suggest_int("x", 0, 1))


def with_example(trial) -> tuple[nn.Module, torch.Tensor]:
    """A net that runs at any size, and the size it is fed with."""
    return nn.Conv2d(3, trial.suggest_int("channels", 4, 4), 3), torch.zeros(1, 3, 20, 20)


class Decomposed(nn.Module):
    """An op without a FLOP formula, behind a condition on data."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x if x.sum() > 0 else -x) + torch.linalg.svdvals(x[..., None])


def with_a_decomposition(trial) -> nn.Module:
    trial.suggest_int("x", 0, 9)
    return Decomposed()


def kills_its_worker_once(trial) -> nn.Module:
    """Like `mlps`, but the first worker that comes by dies; which one is told by a file."""
    marker = Path(os.environ["JOULECAST_TEST_MARKER"])
    if trial.number == 5 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return mlps(trial)


def kills_every_worker(trial) -> nn.Module:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
