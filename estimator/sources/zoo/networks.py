"""Networks of the zoo that no library has, on the device that is current."""

from __future__ import annotations

from torch import nn


def mnist_convnet() -> nn.Module:
    """Keras's example mnist_convnet: (batch, 1, 28, 28) to (batch, 10)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64 * 5 * 5, 10)),
    )


def enso_cnn() -> nn.Module:
    """The ENSO tutorial's network: (batch, 1, 180, 360) to (batch, 1)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 42 * 87, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 1)),
    )


NETWORKS = {network.__name__: network for network in (mnist_convnet, enso_cnn)}
