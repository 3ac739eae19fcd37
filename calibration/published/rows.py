"""Published measurements: rows of measured joules of known networks, read as (workload, seconds, joules).

The rows stay where they are (a directory given on the command line); only what is fitted on them enters the project.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from estimator.sources import load
from estimator.sources.inputs import InputSpec, build_inputs
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from estimator.workload.ops import Workload
from estimator.workload.trace import TraceInputs, trace

IMAGENET_LOADER_S = {"inference": 53 / 50_000, "training": 3.76e-3}
"""Seconds per image that the data loader takes in the imagenet_rtx5000_xeon rows: the floor of their durations.

Training crops at random: four small networks all take 4,870 to 4,960 s for an epoch of 1,281,167 images.
"""

FILES = ("imagenet_rtx5000_xeon.csv", "inference_a100_a10.csv")
"""The files whose rows are a network's seconds and joules: others of the same folder have other columns."""

_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_HYPERPARAMETERS: Mapping[str, Mapping[str, int]] = {
    "bert-large-uncased": _LARGE,  # Devlin et al. 2019, section 3
    "vit-large-patch16-224": _LARGE,  # Dosovitskiy et al. 2021, Table 1
    "gpt2-medium": {"n_embd": 1024, "n_layer": 24, "n_head": 16},  # Radford et al. 2019, Table 2
    "gpt2-large": {"n_embd": 1280, "n_layer": 36, "n_head": 20},
    "gpt2-xl": {"n_embd": 1600, "n_layer": 48, "n_head": 25},
}
"""Sizes that are not the library's defaults. Those are BERT base, GPT-2 (124M), ViT base and MobileViT small."""

_OPTIMIZERS = {"sgd": "momentum", "rmsprop": "adam"}
"""torchvision's recipes train with momentum; their RMSprop has momentum too: 8 passes over a parameter, and Adam 7."""


def family_of(network: str) -> str:
    """The letters that a network's name begins with."""
    found = re.match(r"[a-z]+", network.lower())
    return found.group() if found else network


@dataclass(frozen=True)
class Row:
    """One measured row: what ran, on what, and what it took for ONE batch (joules at the device)."""

    device: str
    model: str
    phase: str
    dtype: str
    workload: Workload
    parameters: int | None  # None of a single operation
    energy_j: float | None
    duration_s: float | None
    clock_hz: float | None
    floor_s: float  # a data loader takes this long for the batch, beside the device
    multi_tensor: bool  # whether PyTorch's optimizers took many tensors at once
    graphed: bool = False  # replayed as a CUDA graph: the host launches nothing
    host: str = ""  # whose host launched: each has a speed of its own; "" where none is known apart
    limit_w: float | None = None  # of the device's power, None where it was left at the board's own
    burst: bool = False  # over in less time than a governor averages over

    @property
    def sort(self) -> tuple[str, str, str]:
        """Device, source and phase: rows of one sort are much alike."""
        return self.device, self.model.split("/", 1)[0], self.phase

    @property
    def network(self) -> str:
        """What is left out together: one network at any batch size, length and dtype; of torchvision, its family."""
        library, name = self.model.split("/", 1)
        return self.family if library == "torchvision" else name.split()[-1]

    @property
    def family(self) -> str:
        """The letters that its network's name begins with, in whichever library: "resnet" of timm's resnet50d."""
        return family_of(self.model.split("/", 1)[1].split()[-1])


@cache
def _module(model: str, attention: str) -> nn.Module:
    library, name = model.split("/", 1)
    if library == "torchvision":
        return load(f"torchvision:{name}").module
    allow_torchvision_without_its_extension()
    import transformers

    class_name, size = name.split()
    made: type[Any] = getattr(transformers, class_name)
    config = made.config_class(**_HYPERPARAMETERS.get(size, {}))
    config._attn_implementation = attention if made._supports_sdpa else "eager"  # MobileViT knows no other
    with torch.device("meta"):
        module: nn.Module = made(config)
    return module


def _resolution(module: nn.Module, given: str | None) -> int:
    """Pixels a side: as the row says, else as the model was made for, else 224."""
    made_for: int | None = getattr(getattr(module, "config", None), "image_size", None)
    return int(given or made_for or 224)


@cache
def _workload(
    model: str, attention: str, batch: int, length: int | None, resolution: int, dtype: str, optimizer: str | None
) -> Workload:
    spec = InputSpec((length,), "int64") if length else InputSpec((3, resolution, resolution))
    args, kwargs = build_inputs((spec,), batch, getattr(torch, dtype))
    inputs = TraceInputs(args, kwargs, batch)
    return trace(_module(model, attention), inputs, dtype=dtype, optimizer=optimizer)


def _optional(text: str | None) -> float | None:
    return float(text) if text else None


def _row(entry: Mapping[str, Any]) -> Row:
    batch, length = int(entry["batch_size"]), entry.get("sequence_length")
    attention = entry.get("attention") or "sdpa"
    module = _module(entry["model"], attention)
    workload = _workload(
        entry["model"],
        attention,
        batch,
        int(length) if length else None,
        _resolution(module, entry.get("resolution")),
        entry["dtype"],
        _OPTIMIZERS[entry["optimizer"]] if entry["phase"] == "training" else None,
    )
    if "samples" in entry:  # a whole pass over a data set
        batches, floor_s = float(entry["samples"]) / batch, IMAGENET_LOADER_S[entry["phase"]] * batch
        duration_s = _optional(entry["duration_s"])
    else:
        batches, floor_s, duration_s = 1.0, 0.0, float(entry["time_ms"]) / 1e3
    return Row(
        device=entry["device"],
        model=entry["model"],
        phase=entry["phase"],
        dtype=entry["dtype"],
        workload=workload,
        parameters=sum(p.numel() for p in module.parameters()),
        energy_j=float(entry["energy_j"]) / batches,
        duration_s=None if duration_s is None else duration_s / batches,
        clock_hz=1e6 * float(entry["sm_clock_mhz"]) if "sm_clock_mhz" in entry else None,
        floor_s=floor_s,
        multi_tensor="samples" not in entry,  # PyTorch 1.10 had none, and these rows are its own
    )


def read(directory: Path) -> Iterator[Row]:
    """Every row of the `FILES` in `directory` that it has."""
    for path in (directory / name for name in FILES if (directory / name).exists()):
        with path.open(newline="", encoding="utf-8") as file:
            yield from map(_row, csv.DictReader(file))
