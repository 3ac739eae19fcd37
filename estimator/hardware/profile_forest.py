"""The trees of a profile as text, and back: arrays of bounded size, whose answer is a factor that makes sense."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimator.energy.forest import Forest
from estimator.energy.op_features import FEATURES

MOST_NODES = 250_000
MOST_TREES = 2_000
DEEPEST = 64
LARGEST_LOG_FACTOR = 100.0
"""e^100 times a roofline is no time that an op takes; beyond e^709 a float overflows."""

_ARRAYS = (
    ("roots", np.dtype("<i4")),
    ("feature", np.dtype("<i4")),
    ("threshold", np.dtype("<f8")),
    ("left", np.dtype("<i4")),
    ("right", np.dtype("<i4")),
    ("value", np.dtype("<f8")),
)


def _packed(array: NDArray[Any], dtype: np.dtype[Any]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array, dtype=dtype).tobytes(), 9)).decode()


def _unpacked(text: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    stream, limit = zlib.decompressobj(), MOST_NODES * dtype.itemsize
    try:
        raw = stream.decompress(base64.b64decode(text, validate=True), limit)
    except (zlib.error, binascii.Error) as error:
        raise ValueError(f"an array is damaged ({error})") from error
    if stream.unconsumed_tail or len(raw) % dtype.itemsize:
        raise ValueError("an array is too long or torn")
    return np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="))


def packed(forest: Forest) -> dict[str, Any]:
    """A forest as JSON has it."""
    return {"base": forest.base, **{name: _packed(getattr(forest, name), dtype) for name, dtype in _ARRAYS}}


def unpacked(raw: Mapping[str, Any], base: float) -> Forest:
    """The forest in `raw`; ValueError where it is damaged, too large or too deep, or its factors make no sense."""
    forest = Forest(base, **{name: _unpacked(raw[name], dtype) for name, dtype in _ARRAYS})
    if len(forest.feature) and forest.feature.max() > FEATURES:
        raise ValueError("a tree asks for a feature that ops do not have")
    if len(forest.roots) > MOST_TREES:
        raise ValueError(f"it has more than {MOST_TREES:,} trees")
    largest = _upwards(forest, np.abs(forest.value), _height(forest))
    if abs(base) + float(largest[forest.roots].sum()) > LARGEST_LOG_FACTOR:
        raise ValueError("its trees add up to a factor that no op has")
    return forest


def _height(forest: Forest) -> int:
    """Of the tallest tree; ValueError beyond `DEEPEST`."""
    inner = np.flatnonzero(forest.feature >= 0)
    heights = np.zeros(len(forest.feature), dtype=np.int32)
    for height in range(DEEPEST + 1):
        taller = 1 + np.maximum(heights[forest.left[inner]], heights[forest.right[inner]])
        if np.array_equal(taller, heights[inner]):
            return height
        heights[inner] = taller
    raise ValueError(f"a tree is deeper than {DEEPEST} nodes")


def _upwards(forest: Forest, values: NDArray[np.float64], height: int) -> NDArray[np.float64]:
    """The largest of `values` at the leaves below each node."""
    inner = np.flatnonzero(forest.feature >= 0)
    largest = np.where(forest.feature >= 0, 0.0, values)
    for _ in range(height):
        largest[inner] = np.maximum(largest[forest.left[inner]], largest[forest.right[inner]])
    return largest
