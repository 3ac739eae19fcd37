"""Networks whose memory is measured: by name, or written here, each with the inputs of one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from estimator.sources import load


@dataclass(frozen=True)
class Network:
    """A network, how it is built (on the meta device), and one batch for it, made on the device and mode in force."""

    name: str
    build: Callable[[], nn.Module]
    batch: Callable[[], Tensor]


class UNet(nn.Module):
    """Convolutions down and up again, each level joined with what came down (Ronneberger et al. 2015)."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(_block(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * a, a, 2, 2) for a in widths[:-1])
        self.join = nn.ModuleList(_block(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 3, height, width); logits of two classes a pixel."""
        left = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            left.append(x)
        for level in reversed(range(len(self.up))):
            x = self.join[level](torch.cat([left[level], self.up[level](x)], 1))
        return self.head(x)


def _block(before: int, after: int) -> nn.Sequential:
    layers = (nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))
    return nn.Sequential(*layers, nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class LastStep(nn.Module):
    """A recurrent network whose last step is classified."""

    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(recurrent.hidden_size, 10)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, steps, features)."""
        return self.head(self.recurrent(x)[0][:, -1])


def encoder(width: int, layers: int) -> nn.Module:
    """`nn.TransformerEncoder`, batch first."""
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def autoencoder(width: int) -> nn.Module:
    """Strided convolutions, and transposed ones back."""
    down = [nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU()]
    up = [nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Sigmoid()]
    return nn.Sequential(*down, *up)


def plain_cnn(width: int) -> nn.Module:
    """Three convolutions, each pooled, and a classifier."""
    blocks = [(3, width), (width, 2 * width), (2 * width, 4 * width)]
    layers = chain.from_iterable((nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)) for a, b in blocks)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))


def named(name: str, *shape: int, tokens: bool = False) -> Network:
    """A network that `estimate` knows by name, and the shape of its batch."""
    make = (lambda: torch.zeros(shape, dtype=torch.long)) if tokens else (lambda: torch.zeros(shape))
    return Network(name, lambda: load(name).module, make)


def own(name: str, build: Callable[[], nn.Module], *shape: int) -> Network:
    """A network of our own, and the shape of its batch."""

    def on_meta() -> nn.Module:
        with torch.device("meta"):
            return build()

    return Network(name, on_meta, lambda: torch.zeros(shape))


TRACKED = (
    named("mlp:100x10x300", 256, 100),
    named("torchvision:resnet18", 16, 3, 224, 224),
    named("torchvision:resnet50", 16, 3, 224, 224),
    named("torchvision:vgg11", 8, 3, 224, 224),
    named("torchvision:densenet121", 8, 3, 224, 224),
    named("torchvision:mobilenet_v2", 16, 3, 224, 224),
    named("torchvision:efficientnet_b0", 16, 3, 224, 224),
    named("torchvision:squeezenet1_1", 16, 3, 224, 224),
    named("torchvision:shufflenet_v2_x1_0", 16, 3, 224, 224),
    named("torchvision:regnet_y_400mf", 16, 3, 224, 224),
    named("torchvision:convnext_tiny", 8, 3, 224, 224),
    named("torchvision:swin_t", 8, 3, 224, 224),
    named("torchvision:vit_b_16", 8, 3, 224, 224),
    named("timm:mixer_s32_224", 16, 3, 224, 224),
    named("transformers:bert", 4, 128, tokens=True),
    named("transformers:gpt2", 4, 128, tokens=True),
    own("transformer encoder 256 x 4", lambda: encoder(256, 4), 16, 128, 256),
    own("U-Net 32 x 4", lambda: UNet(32, 4), 4, 3, 128, 128),
    own("autoencoder 32", lambda: autoencoder(32), 32, 3, 64, 64),
    own("GRU 128 x 2", lambda: LastStep(nn.GRU(64, 128, 2, batch_first=True)), 32, 50, 64),
)
"""Convolutional, transformer, dense and recurrent networks of usual sizes."""

SMALL = (
    named("mlp:100x10x300", 256, 100),
    own("CNN 16", lambda: plain_cnn(16), 32, 3, 64, 64),
    named("torchvision:resnet18", 4, 3, 96, 96),
    named("torchvision:mobilenet_v2", 4, 3, 96, 96),
    named("torchvision:densenet121", 4, 3, 64, 64),
    named("timm:vit_tiny_patch16_224", 4, 3, 224, 224),
    own("transformer encoder 128 x 2", lambda: encoder(128, 2), 16, 64, 128),
    own("U-Net 16 x 3", lambda: UNet(16, 3), 4, 3, 64, 64),
    own("autoencoder 16", lambda: autoencoder(16), 32, 3, 64, 64),
    own("RNN 128 x 2", lambda: LastStep(nn.RNN(64, 128, 2, batch_first=True)), 32, 50, 64),
)
"""Networks that a CPU trains in a moment."""


def filled(module: nn.Module) -> nn.Module:
    """`module` with zeros for its weights, on the device and in the mode in force; without dropout, whose kernel is
    another on a CPU than on a GPU. Tied weights stay tied."""
    made: dict[int, Tensor] = {}

    def zeros(t: Tensor | None) -> Tensor | None:
        if t is not None and id(t) not in made:
            plain = torch.zeros(t.shape, dtype=t.dtype)
            made[id(t)] = nn.Parameter(plain, t.requires_grad) if isinstance(t, nn.Parameter) else plain
        return None if t is None else made[id(t)]

    kept = list(chain(module.parameters(), module.buffers()))  # alive, so that no id is used twice
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            tensors.update({name: zeros(t) for name, t in tensors.items()})
    del kept
    return without_dropout(module)


def without_dropout(module: nn.Module) -> nn.Module:
    """`module` that drops nothing, where it does so as a layer or in its attention."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name in ("dropout", "dropout_prob", "attention_dropout", "dropout_p"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
    return module
