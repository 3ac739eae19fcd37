"""Fully connected networks by their shape: `mlp:100x30x300` is the paper's network of 30 hidden layers of 300 nodes.

The networks of Gitzel et al. 2023, Tables 5 and 6 (whose parameter counts they reproduce): INPUT x DEPTH x WIDTH.
"""

from __future__ import annotations

import re
from itertools import product

import torch
from torch import nn

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.inputs import InputSpec
from estimator.sources.loaded import LoadedModel

PREFIX = "mlp:"
MAX_SIZE = 1_000_000
"""Most nodes of a layer, and of the input."""

MAX_DEPTH = 10_000
"""Most hidden layers."""

_SIZES = r"(\d{1,7}|\[\s*\d{1,7}\s*(?:,\s*\d{1,7}\s*)*\])"
_SHAPE = re.compile(rf"mlp:{_SIZES}[xX×]{_SIZES}[xX×]{_SIZES}")
_FORM = "write mlp:INPUTxDEPTHxWIDTH, such as mlp:100x30x300 for 30 hidden layers of 300 nodes"


def mlp(inputs: int, *sizes: int) -> nn.Sequential:
    """Linear layers of `sizes` nodes on `inputs` values, with a ReLU between them, on the meta device."""
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for size in sizes:
            layers += [nn.Linear(inputs, size), nn.ReLU()]
            inputs = size
    return nn.Sequential(*layers[:-1])


def expand(spec: str) -> tuple[str, ...]:
    """The networks that `spec` means, `mlp:100x[10,20]x[30,50]` four of them; anything else means itself."""
    found = _SHAPE.fullmatch(spec.strip())
    return tuple(PREFIX + "x".join(map(str, shape)) for shape in _shapes(found)) if found else (spec,)


def load_mlp(spec: str) -> LoadedModel:
    """`mlp:INPUTxDEPTHxWIDTH`: DEPTH hidden layers of WIDTH nodes with ReLU, and one output."""
    found = _SHAPE.fullmatch(spec.strip())
    if found is None:
        raise ModelFileError(f"{one_line(spec, 60)} is no shape: {_FORM}")
    (inputs, depth, width), *more = _shapes(found)
    if more:
        raise ModelFileError(
            f"{one_line(spec, 60)} names {1 + len(more)} networks: give them to `estimate compare`, or name one of "
            f"them, such as {expand(spec)[0]}"
        )
    if not (1 <= inputs <= MAX_SIZE and 1 <= depth <= MAX_DEPTH and 1 <= width <= MAX_SIZE):
        raise ModelFileError(
            f"{one_line(spec, 60)} is out of range: take 1 to {MAX_SIZE:,} inputs and nodes, and 1 to {MAX_DEPTH:,} "
            "layers"
        )
    name, specs = expand(spec)[0], (InputSpec((inputs,)),)
    return LoadedModel(mlp(inputs, *[width] * depth, 1), name, "MLP by its shape", specs, "the shape in its name")


def _shapes(found: re.Match[str]) -> list[tuple[int, int, int]]:
    """Every combination of the listed inputs, depths and widths, each once."""
    inputs, depths, widths = (dict.fromkeys(map(int, re.findall(r"\d+", part))) for part in found.groups())
    return list(product(inputs, depths, widths))
