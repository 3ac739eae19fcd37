"""Networks for sequences and vectors drawn at random: transformers, token mixers, recurrent layers, perceptrons."""

from __future__ import annotations

import random
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibration.networks.drawing import ACTIVATIONS, Residual, drawn_batch, drawn_width, log_uniform


class _Rms(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class _Attention(nn.Module):
    """Self-attention: fused or eager, causal or not, with a mask or without, one projection or three."""

    def __init__(self, width: int, heads: int, r: random.Random) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.ModuleList(
            [nn.Linear(width, 3 * width)] if r.random() < 0.5 else [nn.Linear(width, width) for _ in range(3)]
        )
        self.out = nn.Linear(width, width)
        self.eager, self.causal, self.masked = r.random() < 0.4, r.random() < 0.3, r.random() < 0.3
        self.dropout = nn.Dropout(r.choice([0.0, 0.1]))

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        parts = [linear(x) for linear in self.qkv]
        q, k, v = parts[0].chunk(3, -1) if len(parts) == 1 else parts
        q, k, v = (t.view(n, length, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        mask = x.new_zeros(length, length) if self.masked else None
        if self.eager:
            scores = q @ k.transpose(-1, -2) * (width / self.heads) ** -0.5
            if mask is not None:
                scores = scores + mask
            y = self.dropout(scores.softmax(-1)) @ v
        else:
            y = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=self.causal and mask is None)
        return self.out(y.transpose(1, 2).reshape(n, length, width))  # type: ignore[no-any-return]


class _FeedForward(nn.Module):
    def __init__(self, width: int, r: random.Random) -> None:
        super().__init__()
        inner = drawn_width(r, width * 1.5, width * 4.5)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.gate = nn.Linear(width, inner) if r.random() < 0.3 else None
        self.act = r.choice(ACTIVATIONS)()

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.up(x))
        return self.down(h if self.gate is None else h * self.gate(x))  # type: ignore[no-any-return]


class _Transformer(nn.Module):
    """Tokens or patches in; one class, or a token at every position, out."""

    def __init__(self, r: random.Random, width: int, depth: int, vocabulary: int, length: int) -> None:
        super().__init__()
        heads = next(h for h in (r.choice([2, 3, 4, 6, 8, 12, 16]), 4, 2, 1) if width % h == 0)
        norm = r.choice([nn.LayerNorm, nn.LayerNorm, _Rms])
        self.patch = r.choice([8, 14, 16, 32]) if vocabulary == 0 else 0
        self.embed: nn.Module = (
            nn.Conv2d(3, width, self.patch, self.patch) if self.patch else nn.Embedding(vocabulary, width)
        )
        self.positions = nn.Parameter(torch.zeros(1, length, width)) if r.random() < 0.7 else None
        self.blocks = nn.ModuleList(
            Residual(nn.Sequential(norm(width), part))
            for _ in range(depth)
            for part in (_Attention(width, heads, r), _FeedForward(width, r))
        )
        self.norm = norm(width)
        self.whole = vocabulary > 0 and r.random() < 0.4
        self.head = nn.Linear(width, vocabulary if self.whole else r.choice([2, 100, 1000]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.patch:
            x = x.flatten(2).transpose(1, 2)
        if self.positions is not None:
            x = x + self.positions[:, : x.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x if self.whole else x[:, 0])  # type: ignore[no-any-return]


def transformer(r: random.Random) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network on (batch, length) tokens, or on (batch, 3, size, size) images in patches."""
    width, depth, batch = 16 * log_uniform(r, 3, 80), r.randint(1, 3), drawn_batch(r, 32)
    if r.random() < 0.35:
        size = r.choice([96, 160, 224, 224, 256])
        model = _Transformer(r, width, depth, 0, (size // 8) ** 2 + 1)
        return model, (torch.empty(batch, 3, size, size),)
    length, vocabulary = log_uniform(r, 8, 1024), log_uniform(r, 1000, 100_000)
    return _Transformer(r, width, depth, vocabulary, length), (torch.zeros(batch, length, dtype=torch.long),)


def perceptron(r: random.Random) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Linear layers on (batch, width): thin and deep, or wide."""
    thin = r.random() < 0.5
    depth = log_uniform(r, 2, 150 if thin else 8)
    widths = [drawn_width(r, 8, 512 if thin else 8192)] * (depth + 1)
    if not thin and r.random() < 0.5:
        widths = [drawn_width(r, 16, 8192) for _ in widths]
    act, norm = r.choice(ACTIVATIONS), r.random() < 0.15
    layers = list[nn.Module]()
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if norm else []), act()]
    batch = max(2 if norm else 1, drawn_batch(r, 1024))
    return nn.Sequential(*layers, nn.Linear(widths[-1], r.choice([1, 10, 100]))), (torch.empty(batch, widths[0]),)


class _Recurrent(nn.Module):
    def __init__(self, r: random.Random, vocabulary: int, width: int) -> None:
        super().__init__()
        layer = r.choice([nn.LSTM, nn.LSTM, nn.GRU, nn.RNN])
        hidden = drawn_width(r, 16, 768)
        both = r.random() < 0.3
        self.embed = nn.Embedding(vocabulary, width)
        self.layer = layer(width, hidden, r.randint(1, 2), batch_first=True, bidirectional=both)
        self.head = nn.Linear(hidden * (2 if both else 1), r.choice([2, 100, vocabulary]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x))[0])  # type: ignore[no-any-return]


def recurrent(r: random.Random) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Recurrent layers on (batch, length) tokens."""
    vocabulary = log_uniform(r, 100, 20_000)
    x = torch.zeros(drawn_batch(r, 64), log_uniform(r, 4, 200), dtype=torch.long)
    return _Recurrent(r, vocabulary, drawn_width(r, 16, 512)), (x,)


class _TokenMixer(nn.Module):
    """Linear layers over the positions, then over the channels: transposes and copies between them."""

    def __init__(self, r: random.Random, length: int, width: int) -> None:
        super().__init__()
        norm = nn.LayerNorm
        self.blocks = nn.ModuleList()
        for _ in range(r.randint(1, 4)):
            self.blocks.append(nn.Sequential(norm(length), _FeedForward(length, r)))
            self.blocks.append(nn.Sequential(norm(width), _FeedForward(width, r)))
        self.head = nn.Linear(width, 100)

    def forward(self, x: Tensor) -> Tensor:
        for n, block in enumerate(self.blocks):
            x = x + (block(x.transpose(1, 2)).transpose(1, 2) if n % 2 == 0 else block(x))
        return self.head(x.mean(1))  # type: ignore[no-any-return]


def mixer(r: random.Random) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Linear layers over positions and channels in turn, on (batch, length, width)."""
    length, width = log_uniform(r, 16, 400), drawn_width(r, 32, 1024)
    return _TokenMixer(r, length, width), (torch.empty(drawn_batch(r, 32), length, width),)
