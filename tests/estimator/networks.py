"""Networks that several tests need, built on the meta device."""

from __future__ import annotations

from torch import nn

from estimator.sources.mlp import mlp

# Gitzel et al. 2023, Table 6: layers, layer size, trainable parameters, measured kWh (100,000 samples, 10 epochs)
TABLE_6 = (
    (100, 10, 11911, 0.000599),
    (10, 100, 101101, 0.000241),
    (200, 10, 22911, 0.001125),
    (100, 20, 43621, 0.000674),
    (20, 100, 202101, 0.000353),
    (10, 200, 382201, 0.000434),
    (300, 10, 33911, 0.001678),
    (100, 30, 95131, 0.000761),
    (30, 100, 303101, 0.000475),
    (10, 300, 843301, 0.000806),
    (200, 20, 85621, 0.001228),
    (20, 200, 784201, 0.000797),
    (300, 20, 127621, 0.002269),
    (200, 30, 188131, 0.001512),
    (30, 200, 1186201, 0.001273),
    (20, 300, 1746301, 0.001662),
    (300, 30, 281131, 0.002391),
    (30, 300, 2649301, 0.003292),
)
TABLE_6_INPUT = 100


def table_6(layers: int, size: int) -> nn.Sequential:
    """A network of Table 6: `layers` hidden layers of `size`, and one output."""
    return mlp(TABLE_6_INPUT, *[size] * layers, 1)
