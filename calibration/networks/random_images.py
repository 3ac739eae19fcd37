"""Convolutional networks drawn at random: plain, residual, depthwise, grouped, branched, gated."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.networks.drawing import ACTIVATIONS, Residual, drawn_batch, drawn_width


class _Branches(nn.Module):
    """Branches side by side, concatenated; with `shuffle`, their channels are interleaved."""

    def __init__(self, branches: Iterable[nn.Module], shuffle: bool) -> None:
        super().__init__()
        self.branches, self.shuffle = nn.ModuleList(branches), shuffle

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([branch(x) for branch in self.branches], 1)
        if self.shuffle and x.shape[1] % 2 == 0:
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return x


class _ChannelGate(nn.Module):
    """Squeeze and excite: each channel times a gate that is computed from all channels' means."""

    def __init__(self, channels: int, r: random.Random) -> None:
        super().__init__()
        inner = max(4, channels // r.choice([4, 8, 16]))
        self.down, self.up = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.gate = r.choice([nn.Sigmoid, nn.Hardsigmoid])()
        self.pool = r.choice([nn.AdaptiveAvgPool2d(1), None])

    def forward(self, x: Tensor) -> Tensor:
        s = self.pool(x) if self.pool is not None else x.mean((2, 3), keepdim=True)
        gate: Tensor = self.gate(self.up(functional.relu(self.down(s))))
        return x * gate


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of an image: to channels last and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class _Images:
    """Draws the layers of a convolutional network."""

    def __init__(self, r: random.Random) -> None:
        self.r = r
        self.act = r.choice(ACTIVATIONS)
        self.norm = r.choices(["batch", "none", "group", "channel"], [12, 3, 2, 1])[0]
        self.bias = self.norm == "none" or r.random() < 0.2
        self.style = r.choice(["plain", "residual", "bottleneck", "depthwise", "depthwise", "grouped", "branches"])
        self.gated = r.random() < 0.25
        self.in_place = r.random() < 0.5
        self.kernel = r.choice([3, 3, 3, 5, 7, 7])
        self.pooled = r.random() < 0.2  # resolution is lowered by pooling alone, as the first networks did

    def conv(
        self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> list[nn.Module]:
        layers: list[nn.Module] = [
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=self.bias),
        ]
        if self.norm == "batch":
            layers.append(nn.BatchNorm2d(c_out))
        elif self.norm == "group" and c_out % 8 == 0:
            layers.append(nn.GroupNorm(8, c_out))
        elif self.norm == "channel":
            layers.append(_ChannelNorm(c_out))
        return [*layers, self.act()] if act else layers

    def block(self, c_in: int, c: int, stride: int) -> list[nn.Module]:
        r, k = self.r, self.kernel
        gate: list[nn.Module] = [_ChannelGate(c, r)] if self.gated else []
        if self.style == "plain":
            body = self.conv(c_in, c, k if r.random() < 0.8 else 1, stride)
        elif self.style == "residual":
            body = [*self.conv(c_in, c, 3, stride), *self.conv(c, c, 3, act=False), *gate]
        elif self.style == "bottleneck":
            inner = max(8, c // r.choice([2, 4]) // 8 * 8)
            body = [*self.conv(c_in, inner, 1), *self.conv(inner, inner, 3, stride), *self.conv(inner, c, 1, act=False)]
            body += gate
        elif self.style == "depthwise":
            wide = c_in * r.choice([1, 2, 4, 6])
            inner_gate: list[nn.Module] = [_ChannelGate(wide, r)] if self.gated else []
            body = [
                *(self.conv(c_in, wide, 1) if wide > c_in else []),
                *self.conv(wide, wide, r.choice([3, 5, self.kernel]), stride, groups=wide),
                *inner_gate,
                *self.conv(wide, c, 1, act=False),
            ]
        elif self.style == "grouped":
            groups = math.gcd(math.gcd(c_in, c), r.choice([2, 4, 8, 16, 32]))
            body = [*self.conv(c_in, c, k, stride, groups=groups), *self.conv(c, c, 1)]
        else:
            half = c // 2
            body = [
                _Branches(
                    [
                        nn.Sequential(*self.conv(c_in, half, 1, stride)),
                        nn.Sequential(*self.conv(c_in, c - half, k, stride)),
                    ],
                    r.random() < 0.5,
                )
            ]
        if c_in == c and stride == 1 and self.style != "plain":
            return [Residual(nn.Sequential(*body), self.in_place)]
        return body


def convolutional(r: random.Random) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network on (batch, 3, size, size)."""
    draw = _Images(r)
    size, batch = r.choice([32, 48, 64, 96, 112, 128, 160, 192, 224, 224, 240, 256, 288]), drawn_batch(r, 48)
    c, layers = 3, list[nn.Module]()
    width = drawn_width(r, 12, 128)
    if r.random() < 0.7:
        kernel = r.choice([3, 3, 5, 7])
        layers += draw.conv(3, width, kernel, 1 if draw.pooled else r.choice([1, 2, 2]))
        c = width
        if r.random() < 0.4:
            layers.append(nn.MaxPool2d(3, 2, 1))
    for _ in range(r.randint(2, 5)):
        for n in range(r.randint(1, 3)):
            strided = n == 0 and not draw.pooled and r.random() < 0.8
            layers += draw.block(c, width, 2 if strided else 1)
            c = width
        if draw.pooled:
            layers.append(nn.MaxPool2d(2))
        if r.random() < 0.15:
            layers.append(r.choice([nn.MaxPool2d(2), nn.AvgPool2d(3, 1, 1), nn.Dropout2d(0.1)]))
        width = min(drawn_width(r, width * 1.2, width * 2.5), 2048)
    if r.random() < 0.1:
        layers += [nn.ConvTranspose2d(c, c, 2, 2), nn.Upsample(scale_factor=2, mode=r.choice(["nearest", "bilinear"]))]
    hidden, classes = drawn_width(r, 64, 4096), r.choice([2, 10, 100, 1000, 1000, 21841])
    head = r.random()
    if head < 0.1:  # the same as a convolution with a kernel as large as the map: mostly weights
        side = r.choice([2, 4, 6, 7])
        layers += [nn.AdaptiveAvgPool2d(side), nn.Conv2d(c, hidden, side), draw.act(), nn.Conv2d(hidden, classes, 1)]
        layers.append(nn.Flatten())
    elif head < 0.3:  # a classifier on the flattened map, as the first networks had
        side = r.choice([2, 4, 6, 7])
        layers += [nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(c * side * side, hidden), draw.act()]
        layers += [nn.Dropout(), nn.Linear(hidden, hidden), draw.act(), nn.Linear(hidden, classes)]
    else:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes)]
    return nn.Sequential(*layers), (torch.empty(batch, 3, size, size),)
