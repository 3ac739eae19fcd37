"""Known networks, to check predictions on. No family of theirs is among the random ones, nor tuned on.

Weights are random: speed depends on shapes. torchvision's and timm's by name, transformers from published
hyperparameters, perceptrons wide and deep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from calibration.networks.random_networks import Network
from estimator.sources import load

Made = tuple[nn.Module, tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Known:
    """A network to check on: how to make it on meta tensors, for inference or with an optimizer."""

    name: str
    family: str
    optimizer: str | None
    make: Callable[[], Made]

    def network(self, dtype: str = "float32") -> Network:
        """The network, on meta tensors."""
        module, args = self.make()
        return Network(self.family, self.optimizer, dtype, module, args)


def images(name: str, batch: int, size: int = 224) -> Callable[[], Made]:
    """A vision model of timm or torchvision ("timm:resnet50") on `batch` images of size x size."""
    return lambda: (load(name).module, (torch.empty(batch, 3, size, size, device="meta"),))


def tokens(model: str, config: str, batch: int, length: int, **values: Any) -> Callable[[], Made]:
    """A text model of transformers on batch x length tokens; `values` replace the configuration's defaults."""

    def make() -> Made:
        import transformers

        with torch.device("meta"):
            module = getattr(transformers, model)(getattr(transformers, config)(**values))
            return module, (torch.zeros(batch, length, dtype=torch.long),)

    return make


def perceptron(inputs: int, widths: Sequence[int], batch: int) -> Callable[[], Made]:
    """Linear layers with ReLU between them."""

    def make() -> Made:
        with torch.device("meta"):
            layers = [part for a, b in pairwise([inputs, *widths]) for part in (nn.Linear(a, b), nn.ReLU())]
            return nn.Sequential(*layers[:-1]), (torch.empty(batch, inputs),)

    return make


_BERT = {"hidden_size": 768}
_ALBERT = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}  # ALBERT base (Lan et al. 2020)
_OPT = {"hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072, "num_attention_heads": 12}  # OPT-125M
_T5 = {"d_model": 512, "num_layers": 6, "d_ff": 2048, "num_heads": 8}  # T5 small (Raffel et al. 2020)

_VISION: Mapping[str, tuple[Sequence[int], Sequence[int], int]] = {  # batches of inference, of training, and size
    "timm:resnet50": ((1, 8), (2,), 224),
    "timm:resnet34": ((1,), (), 224),
    "timm:mobilenetv2_100": ((1, 8), (8,), 224),
    "timm:mobilenetv3_small_100": ((4,), (), 224),
    "timm:efficientnet_b0": ((1, 4), (4,), 224),
    "timm:vgg11": ((1,), (), 224),
    "timm:regnetx_008": ((1, 4), (4,), 224),
    "timm:regnety_004": ((1,), (), 224),
    "timm:densenet169": ((1,), (), 224),
    "timm:inception_v3": ((1,), (), 299),
    "timm:convnext_atto": ((1, 4), (4,), 224),
    "timm:vit_small_patch16_224": ((1, 4), (2,), 224),
    "timm:deit_tiny_patch16_224": ((8,), (4,), 224),
    "timm:swin_tiny_patch4_window7_224": ((1,), (), 224),
    "timm:mixer_s16_224": ((1, 4), (2,), 224),
    "timm:ghostnet_100": ((1,), (), 224),
    "timm:rexnet_100": ((1,), (4,), 224),
    "timm:hrnet_w18_small": ((1,), (), 224),
    "timm:levit_128": ((4,), (), 224),
    "torchvision:shufflenet_v2_x1_0": ((4,), (8,), 224),
    "torchvision:squeezenet1_1": ((4,), (8,), 224),
}
_TEXT: Sequence[tuple[str, str, Mapping[str, Any], Sequence[tuple[int, int]], Sequence[tuple[int, int]]]] = (
    ("BertModel", "BertConfig", _BERT, ((1, 128), (4, 64)), ((1, 64),)),
    ("GPT2Model", "GPT2Config", {}, ((1, 64), (2, 256)), ((1, 64),)),
    ("AlbertModel", "AlbertConfig", _ALBERT, ((1, 128),), ((2, 64),)),
    ("T5EncoderModel", "T5Config", _T5, ((2, 128),), ((2, 64),)),
    ("DistilBertModel", "DistilBertConfig", {}, ((8, 32),), ((2, 64),)),
    ("ElectraModel", "ElectraConfig", {}, ((4, 128),), ((4, 64),)),
    ("OPTModel", "OPTConfig", _OPT, ((1, 64),), ()),
)
_PERCEPTRONS: Sequence[tuple[int, Sequence[int], int]] = (
    (784, (800, 800, 10), 128),
    (100, (100,) * 100, 32),
    (64, (256,) * 10, 1),
    (2048, (2048,) * 4, 64),
    (100, (25,) * 170, 32),
    (4096, (4096, 4096, 10), 4),
)


def known_networks() -> Iterator[Known]:
    """Every network to check on, inference and training."""
    for name, (served, trained, size) in _VISION.items():
        family = name.split(":")[1]
        for batch in served:
            yield Known(f"{family} b{batch}", family, None, images(name, batch, size))
        for batch in trained:
            yield Known(f"{family} b{batch} training", family, "sgd", images(name, batch, size))
    for model, config, values, served_text, trained_text in _TEXT:
        for batch, length in served_text:
            yield Known(
                f"{model} b{batch} {length} tokens", model, None, tokens(model, config, batch, length, **values)
            )
        for batch, length in trained_text:
            made = tokens(model, config, batch, length, **values)
            yield Known(f"{model} b{batch} {length} tokens training", model, "adamw", made)
    for inputs, widths, batch in _PERCEPTRONS:
        name, made = f"{len(widths)} layers of {widths[0]} b{batch}", perceptron(inputs, widths, batch)
        yield Known(name, "perceptron", None, made)
        yield Known(f"{name} training", "perceptron", "adam", made)
