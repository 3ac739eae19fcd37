"""Purely convolutional networks of as many parameters as wide dense ones, for `estimate compare` (Figure 14)."""

from torch import nn


def conv(depth: int, filters: int) -> nn.Sequential:
    """`depth` 3x3 convolutions of `filters` filters on 100 inputs, seen as a picture of 10 x 10, and one output."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 10, 10))]
    channels = 1
    for _ in range(depth):
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(100 * filters, 1))


def conv10x35() -> nn.Sequential:
    """103,391 parameters; mlp:100x10x100 has 101,101."""
    return conv(10, 35)


def conv10x67() -> nn.Sequential:
    """371,583 parameters; mlp:100x10x200 has 382,201."""
    return conv(10, 67)


def conv10x101() -> nn.Sequential:
    """838,301 parameters; mlp:100x10x300 has 843,301."""
    return conv(10, 101)
