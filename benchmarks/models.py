"""The models that are timed: on meta for the tracers, and as the files and directories that a user would name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

TRACED: Mapping[str, str] = {
    "resnet50": "torchvision:resnet50",
    "vit_b_16": "torchvision:vit_b_16",
    "mobilenet_v2": "torchvision:mobilenet_v2",
    "efficientnet_b0": "torchvision:efficientnet_b0",
    "bert-base": "transformers:bert",
    "gpt2": "transformers:gpt2",
}
"""Names for the table, and for `estimator.sources.load`."""

TOKENS = 512

LLAMA_2_70B: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "max_position_embeddings": 4096,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "vocab_size": 32000,
}
"""Touvron et al. 2023, table 1 and the published checkpoint's config.json."""

_WRITE_RESNET_50 = """
import sys
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
allow_torchvision_without_its_extension()
import torch, torchvision
torch.save(torchvision.models.resnet50(), sys.argv[1])
"""


def write_resnet_50(path: Path) -> None:
    """Pickle a ResNet-50 with weights, in a process of its own: this one stays small (see `benchmarks.main_job`)."""
    subprocess.run([sys.executable, "-c", _WRITE_RESNET_50, str(path)], check=True)


def write_llama_70b(directory: Path) -> None:
    """A Hugging Face directory with the config of Llama 2 70B, and no weights."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(LLAMA_2_70B), encoding="utf-8")


def on_meta(name: str) -> tuple[nn.Module, Tensor]:
    """One of `TRACED` in evaluation mode and one sample for it, without data."""
    import torch

    from estimator.sources import load

    module = load(TRACED[name]).module.eval()
    if TRACED[name].startswith("transformers"):
        return module, torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
    return module, torch.zeros(1, 3, 224, 224, device="meta")
