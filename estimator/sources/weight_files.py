"""Weights beside their settings, as Hugging Face's libraries and accelerate save them: safetensors files and folders.

Only the headers of safetensors files are read: a name, a type and a shape for each tensor.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from estimator.base.errors import ModelFileError
from estimator.base.reading import check_ordinary, read_json
from estimator.base.words import one_line, told

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library."""

_LARGEST_CONFIG = 16 * 2**20
_LARGEST_SIZE = 2**48
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors")
_DESCRIBING = ("model_type", "architectures", "_class_name", "auto_map")
_NAME_THE_CODE = "name the code that builds the model, `estimate file.py:Net"


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is one: the length of a JSON header, then the header."""
    return len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**30


def described_beside(path: Path) -> Path | None:
    """The folder of a file of weights where a `config.json` of transformers or diffusers tells the model."""
    try:
        config = read_json(path.parent / "config.json", _LARGEST_CONFIG)
    except (OSError, ValueError):
        return None
    return path.parent if isinstance(config, dict) and any(key in config for key in _DESCRIBING) else None


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file, or in all the parts of the one that it is a part of."""
    found = _SHARD.fullmatch(path.name)
    paths = sorted(p for p in path.parent.iterdir() if _is_part(p, found[1])) if found else [path]
    return {name: shape for part in paths for name, shape in _header(part).items()}


def _is_part(path: Path, stem: str) -> bool:
    found = _SHARD.fullmatch(path.name)
    return found is not None and found[1] == stem


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    damaged = ModelFileError(f"the safetensors file {path.name} is damaged or cut short: copy or save it again")
    try:
        check_ordinary(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            content = file.read(length) if length <= MAX_HEADER_BYTES else b""
        header = json.loads(content) if len(content) == length else None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read ({error.strerror or told(error)}): check the path") from error
    except (ValueError, RecursionError) as error:
        raise damaged from error
    if not isinstance(header, dict):
        raise damaged
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        shape = tensor.get("shape") if isinstance(tensor, Mapping) else None
        if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < _LARGEST_SIZE for n in shape):
            raise damaged
        shapes[name] = tuple(shape)
    return shapes


def weights_file(directory: Path) -> Path | None:
    """The file of weights, or the first of its parts, in a folder that accelerate or a trainer wrote; None for none."""
    names = (
        "model.safetensors",
        "model-*.safetensors",
        "*.safetensors",
        "pytorch_model.bin",
        "*.ckpt",
        "*.pt",
        "*.pth",
    )
    return next((path for name in names for path in sorted(directory.glob(name)) if path.is_file()), None)


def weights_alone(path: Path) -> ModelFileError:
    """The error for a safetensors file without the settings of its model."""
    shapes = shapes_in(path)
    return ModelFileError(
        f"{path.name} is a safetensors file, which holds weights only ({len(shapes):,} tensors, "
        f"{sum(map(math.prod, shapes.values())):,} parameters): give the directory with its config.json, or "
        f"{_NAME_THE_CODE} --checkpoint {one_line(path, 100)}`"
    )


def no_config(directory: Path) -> ModelFileError:
    """The error for a folder without a `config.json`: what it seems to be, and the remedy."""
    shown = one_line(directory, 100)
    inner = [path.parent for path in directory.glob("*/config.json")]
    if inner:
        newest = max(inner, key=_step)
        return ModelFileError(
            f"the directory {shown} has no config.json, but {len(inner)} of its folders: name one, `estimate "
            f"{one_line(newest, 100)}`"
        )
    if (directory / "zero_to_fp32.py").is_file():
        return ModelFileError(
            f"the directory {shown} is a checkpoint of DeepSpeed: {_NAME_THE_CODE}`, or let its zero_to_fp32.py write "
            "the weights and add `--checkpoint` with them"
        )
    if next(directory.glob("**/*.distcp"), None):
        return ModelFileError(
            f"the directory {shown} is a distributed checkpoint of torch: {_NAME_THE_CODE}`, or write the weights with "
            f"`python -m torch.distributed.checkpoint.format_utils dcp_to_torch {shown} weights.pt` and add "
            "`--checkpoint weights.pt`"
        )
    held = weights_file(directory)
    if held is None:
        return ModelFileError(
            f"the directory {shown} has no config.json: give a model file, or a directory that save_pretrained wrote"
        )
    if held.suffix in (".safetensors", ".bin"):
        return ModelFileError(
            f"the directory {shown} has no config.json, only weights ({one_line(held.name, 60)}): {_NAME_THE_CODE} "
            f"--checkpoint {shown}`, or copy the config.json of the model into it"
        )
    return ModelFileError(f"the directory {shown} has no config.json: name the file, `estimate {one_line(held, 100)}`")


def _step(folder: Path) -> tuple[int, str]:
    """`checkpoint-1000` comes after `checkpoint-500`."""
    digits = re.search(r"(\d{1,15})$", folder.name)
    return int(digits[1]) if digits else -1, folder.name
