"""Published times of whole networks that other files hold: timm, torchvision, language models, power limits.

Each file's rows are drawn at random, always the same ones, and traced anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from calibration.published.rows import Row
from estimator.base.errors import JoulecastError
from estimator.sources import load
from estimator.sources.inputs import InputSpec, build_inputs
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from estimator.workload.execution.settings import EAGER, Autocast, Execution
from estimator.workload.ops import Workload
from estimator.workload.trace import TraceInputs, trace

TIMM: Mapping[str, tuple[str, str]] = {
    "benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv.gz": ("nvidia-rtx-3090", "infer"),
    "benchmark-train-amp-nchw-pt112-cu113-rtx3090.csv.gz": ("nvidia-rtx-3090", "train"),
    "benchmark-infer-amp-nchw-pt291-cu130-pro6000maxq.csv.gz": ("nvidia-rtx-pro-6000-blackwell-max-q", "infer"),
}
"""Files of huggingface/pytorch-image-models (Apache-2.0), eager: whose they are, and the prefix of their columns."""

PICTURES = 40
"""Networks drawn from a file of timm or torchvision."""

_PHASES = {"infer": "inference", "inference": "inference", "train": "training"}
_DTYPES = {"float": "float32", "half": "float16"}
_DEVICES = {"GeForce RTX 2080 Ti": "nvidia-rtx-2080-ti", "TITAN Xp": "nvidia-titan-xp"}

_DECODERS = {
    "125m": (768, 12, 12),
    "350m": (1024, 24, 16),
    "760m": (1536, 24, 12),
    "1b": (2048, 24, 16),
    "3b": (2560, 32, 20),
    "7b": (4096, 32, 32),
    "13b": (5120, 40, 40),
}
"""Width, layers and heads of mosaicml/llm-foundry's decoders (scripts/train/yamls/pretrain)."""

_SAMPLES = {"cifar100": 50_000, "imagenet": 1_281_167, "squad": 88_524}
"""Of one epoch: the data sets' own sizes; of SQuAD 1.1 the windows of 384 tokens, 128 apart."""

MEAN_TOKENS, TOKENS_SPREAD, MOST_TOKENS = 145.0, 0.41, 384
"""Of SQuAD's questions with their texts: lengths are about log-normal, and a batch is padded to its longest."""


AMP = Execution(Autocast("float16"))
"""What timm's benchmark calls `amp`: autocast in float16, without a scaler (timm's benchmark.py)."""


def traced(
    module: nn.Module, spec: InputSpec, batch: int, dtype: str, optimizer: str | None, execution: Execution = EAGER
) -> Workload:
    """A forward pass of a batch of `spec`, or a step with `optimizer`."""
    args, kwargs = build_inputs((spec,), batch, getattr(torch, dtype))
    return trace(module, TraceInputs(args, kwargs, batch), dtype=dtype, optimizer=optimizer, execution=execution)


def _row(
    device: str, model: str, phase: str, workload: Workload, parameters: int, duration_s: float, **beside: Any
) -> Row:
    return Row(
        device=device,
        model=model,
        phase=phase,
        workload=workload,
        parameters=parameters,
        duration_s=duration_s,
        host=f"{model.split('/', maxsplit=1)[0]} {device}",
        clock_hz=None,
        floor_s=0.0,
        **{"energy_j": None, "multi_tensor": True} | beside,
    )


def size_of(module: nn.Module) -> int:
    """Parameters of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def _timm(path: Path, device: str, prefix: str) -> Iterator[Row]:
    """Networks that today's timm still builds with as many parameters."""
    import pandas as pd

    found, optimizer = 0, "momentum" if prefix == "train" else None
    for _, entry in pd.read_csv(path).sample(frac=1, random_state=0).iterrows():
        pixels, batch = int(entry[f"{prefix}_img_size"]), int(entry[f"{prefix}_batch_size"])
        try:
            module = load(f"timm:{entry.model}").module
            workload = traced(module, InputSpec((3, pixels, pixels)), batch, "float32", optimizer, AMP)
        except JoulecastError:
            continue
        size, seconds = size_of(module), entry[f"{prefix}_step_time"] / 1e3
        if abs(size / 1e6 - entry.param_count) < 0.02 * entry.param_count:
            yield _row(device, f"timm/{entry.model}", _PHASES[prefix], workload, size, seconds, dtype="float16")
            found += 1
        if found == PICTURES:
            return


def _torchvision(path: Path) -> Iterator[Row]:
    """One GPU, float and half: nn.DataParallel is no matter of one device. PyTorch 1.7 looped over tensors."""
    import pandas as pd

    frame = pd.read_csv(path)
    frame = frame[(frame.gpus == 1) & (frame.dtype != "double")]
    names = random.Random(0).sample(sorted(set(frame.model)), k=min(PICTURES // 2, frame.model.nunique()))
    for (name, mode, kind), entries in frame[frame.model.isin(names)].groupby(["model", "mode", "dtype"]):
        module, dtype, pixels = load(f"torchvision:{name}").module, _DTYPES[kind], 299 if "inception" in name else 224
        optimizer = "momentum" if mode == "train" else None
        workload = traced(module, InputSpec((3, pixels, pixels)), 12, dtype, optimizer)
        for _, entry in entries.iterrows():
            yield _row(
                _DEVICES[entry.device],
                f"torchvision/{name}",
                _PHASES[mode],
                workload,
                size_of(module),
                entry.median_ms / 1e3,
                dtype=dtype,
                multi_tensor=False,
            )


def _language(path: Path) -> Iterator[Row]:
    """Trainings on eight GPUs without checkpointing, a micro batch of one: its share of the step is left out."""
    import pandas as pd
    import transformers

    frame = pd.read_csv(path)
    frame = frame[(frame["# GPUs"] == 8) & (frame["Activation Checkpointing"].astype(str) == "False")]
    for _, entry in frame.iterrows():
        width, layers, heads = _DECODERS[entry.Model]
        tokens, batch = int(entry["SeqLen (T)"]), int(entry.MicroBatchSize)
        config = transformers.GPT2Config(
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            n_positions=tokens,
            vocab_size=50_368,
            bos_token_id=0,
            eos_token_id=0,
            activation_function="gelu",
        )
        with torch.device("meta"):
            module = transformers.GPT2LMHeadModel(config)
        workload = traced(module, InputSpec((tokens,), "int64"), batch, "bfloat16", "adam")
        passes = tuple(op for op in workload.ops if op.phase != "optimizer")
        seconds = batch * tokens / float(entry["Throughput (T/s/GPU)"])
        model, workload = f"decoders/{entry.Model}", Workload(passes, batch, workload.module_calls)
        yield _row("nvidia-a100-sxm4-40gb", model, "training", workload, size_of(module), seconds, dtype="bfloat16")


def padded_tokens(batch: int) -> int:
    """What the longest of `batch` questions is expected to have, from the log-normal law of their lengths."""
    import numpy as np

    drawn = MEAN_TOKENS * np.exp(TOKENS_SPREAD * np.random.default_rng(0).standard_normal((2000, batch)))
    return int(np.minimum(MOST_TOKENS, drawn).max(axis=1).mean())


@cache
def _limited_module(network: str) -> Any:
    if network == "resnet50":
        return load("torchvision:resnet50").module
    if network == "bert_base_uncased":
        import transformers

        with torch.device("meta"):
            return transformers.BertForQuestionAnswering(transformers.BertConfig(attn_implementation="eager"))
    module: Any = load("torchvision:shufflenet_v2_x1_0").module
    module.conv1[0].stride, module.maxpool = (1, 1), nn.Identity()  # for pictures of 32 x 32: no halving at the start
    return module


@cache
def _limited_workload(network: str, batch: int) -> Workload:
    pictures = {"resnet50": (3, 224, 224), "shufflenetv2": (3, 32, 32)}
    spec = InputSpec(pictures[network]) if network in pictures else InputSpec((padded_tokens(batch),), "int64")
    return traced(_limited_module(network), spec, batch, "float32", "adam")


def _limited(path: Path) -> Iterator[Row]:
    """Trainings at power limits. Adadelta has two states, like Adam; its optimizer loops over tensors."""
    import pandas as pd

    for _, entry in pd.read_csv(path).iterrows():
        seconds = entry.time_per_epoch * entry.batch_size / _SAMPLES[entry.dataset]
        yield _row(
            entry.device,
            f"limited/{entry.network}",
            "training",
            _limited_workload(entry.network, int(entry.batch_size)),
            size_of(_limited_module(entry.network)),
            seconds,
            dtype="float32",
            energy_j=seconds * entry.average_power,
            multi_tensor=False,
            limit_w=float(entry.power_limit),
        )


_FILES: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "torchvision_train_infer.csv": _torchvision,
    "llm_training_a100_40gb.csv": _language,
    "training_power_limits.csv": _limited,
}


def read(directory: Path) -> Iterator[Row]:
    """Rows of those files that `directory` has. Needs pandas (`pip install .[data]`), timm and transformers."""
    allow_torchvision_without_its_extension()
    for name, (device, prefix) in TIMM.items():
        if (path := directory / "timm" / name).exists():
            yield from _timm(path, device, prefix)
    for name, rows_of in _FILES.items():
        if (path := directory / name).exists():
            yield from rows_of(path)


def is_network(row: Row) -> bool:
    """Whether a row is a whole network's, not a single operation's."""
    return row.parameters is not None
