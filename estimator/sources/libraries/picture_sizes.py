"""The size of the pictures that a model of transformers takes, as its image processor makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from estimator.base.reading import read_json

Size = tuple[int, int]
"""Height and width, in pixels."""

_FILE = "preprocessor_config.json"
_MAX_BYTES = 2**20
_MAX_PIXELS = 2**14
_ASPECT = 4 / 3
"""Width over height of the picture that is assumed where a processor keeps its shape: 640x480, COCO's usual one."""


def in_directory(directory: Path) -> Size | None:
    """What the processor's settings beside a `config.json` say, None where there are none to read."""
    try:
        settings = read_json(directory / _FILE, _MAX_BYTES)
    except (OSError, ValueError):
        return None
    return of_processor(settings) if isinstance(settings, dict) else None


def of_processor(settings: dict[str, Any]) -> Size | None:
    """The size that a processor with these settings makes of a picture, None where they do not tell.

    What is cropped has the crop's size; two edges are the least and the most of a picture that keeps its shape
    (DETR's 800 and 1333 are 800x1066 for 640x480); the shortest edge alone, or one number, is a square.
    """
    size, crop, most = settings.get("size"), settings.get("crop_size"), settings.get("max_size")
    if settings.get("do_center_crop") and crop is not None:
        return _of(crop)
    if settings.get("do_resize") is False:
        return None
    if isinstance(size, int) and isinstance(most, int):  # as versions of transformers before 4.27 wrote it
        size = {"shortest_edge": size, "longest_edge": most}
    return _of(size)


def by_default(config: Any) -> tuple[Size, str] | None:
    """The size that the image processor of this type of model has by default, and the processor's name."""
    try:
        from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

        found = IMAGE_PROCESSOR_MAPPING[type(config)]
    except (ImportError, LookupError, AttributeError, ValueError, RuntimeError):
        return None
    classes = list(found.values() if isinstance(found, dict) else found if isinstance(found, tuple) else (found,))
    for processor in filter(None, classes):
        size = getattr(processor, "size", None)
        if isinstance(size, dict) and len(size) > 1 and (read := _of(dict(size))):
            return read, str(processor.__name__).removesuffix("Pil")
    return None


def _of(size: Any) -> Size | None:
    if isinstance(size, dict):
        shortest, longest = size.get("shortest_edge"), size.get("longest_edge")
        if isinstance(shortest, int) and isinstance(longest, int) and _is_size(shortest) and _is_size(longest):
            height = min(shortest, int(longest / _ASPECT))
            return height, int(height * _ASPECT)
        size = (size.get("height", shortest), size.get("width", shortest))
    if isinstance(size, int):
        size = (size, size)
    if isinstance(size, (list, tuple)) and len(size) == 2 and all(map(_is_size, size)):
        return size[0], size[1]
    return None


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MAX_PIXELS
