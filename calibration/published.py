"""Published measurements: rows of measured joules of known networks, read as (workload, seconds, joules).

The rows stay where they are (a directory given on the command line); only what is fitted on them enters the project.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from estimator.inputs import InputSpec, build_inputs
from estimator.sources import load
from estimator.trace import TraceInputs, trace
from estimator.workload import Workload

IMAGENET_LOADER_S = 53 / 50_000
"""Seconds per image that the data loader takes in the imagenet_rtx5000_xeon rows: the floor of their durations."""

_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_CONFIGS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "bert-large-uncased": ("BertConfig", _LARGE),  # Devlin et al. 2019, table of section 3
    "gpt2": ("GPT2Config", {}),  # the library's defaults are the 124M model
    "vit-large-patch16-224": ("ViTConfig", _LARGE),  # Dosovitskiy et al. 2021, Table 1
}


@dataclass(frozen=True)
class Row:
    """One measured row: what ran, on what, and what it took for ONE batch (joules at the device)."""

    device: str
    model: str
    phase: str
    dtype: str
    workload: Workload
    energy_j: float
    duration_s: float | None
    clock_hz: float | None
    floor_s: float  # the batch takes at least this long, whatever the device does


@cache
def _module(model: str, attention: str) -> nn.Module:
    library, name = model.split("/", 1)
    if library == "torchvision":
        return load(f"torchvision:{name}").module
    import transformers

    class_name, config_name = name.split()
    config_class, values = _CONFIGS[config_name]
    config = getattr(transformers, config_class)(**values)
    config._attn_implementation = attention
    with torch.device("meta"):
        module: nn.Module = getattr(transformers, class_name)(config)
    return module


@cache
def _workload(
    model: str, attention: str, batch: int, length: int | None, resolution: int, dtype: str, training: bool
) -> Workload:
    spec = InputSpec((length,), "int64") if length else InputSpec((3, resolution, resolution))
    args, kwargs = build_inputs((spec,), batch, getattr(torch, dtype))
    inputs = TraceInputs(args, kwargs, batch)
    return trace(_module(model, attention), inputs, dtype=dtype, optimizer="sgd" if training else None)


def _optional(text: str | None) -> float | None:
    return float(text) if text else None


def _row(entry: Mapping[str, Any]) -> Row:
    batch, length = int(entry["batch_size"]), entry.get("sequence_length")
    training = entry["phase"] == "training"
    workload = _workload(
        entry["model"],
        entry.get("attention") or "sdpa",
        batch,
        int(length) if length else None,
        int(entry.get("resolution") or 224),
        entry["dtype"],
        training,
    )
    if "samples" in entry:  # a whole pass over a data set
        batches, floor_s = float(entry["samples"]) / batch, IMAGENET_LOADER_S * batch
        duration_s = _optional(entry["duration_s"])
    else:
        batches, floor_s, duration_s = 1.0, 0.0, float(entry["time_ms"]) / 1e3
    return Row(
        device=entry["device"],
        model=entry["model"],
        phase=entry["phase"],
        dtype=entry["dtype"],
        workload=workload,
        energy_j=float(entry["energy_j"]) / batches,
        duration_s=None if duration_s is None else duration_s / batches,
        clock_hz=1e6 * float(entry["sm_clock_mhz"]) if "sm_clock_mhz" in entry else None,
        floor_s=floor_s,
    )


def read(directory: Path) -> Iterator[Row]:
    """Every row of the CSV files in `directory` (shared/data/measured), in the order of the files."""
    for path in sorted(directory.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            yield from map(_row, csv.DictReader(file))
