"""Weights and settings in a pickle without a model: what a training kept, told from the records alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.pickles.contents import items_of, shape_of
from estimator.sources.pickles.pickle_data import Global, Made
from estimator.sources.suggestions import of_libraries

_SETTINGS = ("hyper_parameters", "hparams", "model_args", "model_kwargs", "init_args", "config", "args")
"""Where checkpoints keep the arguments of their model, Lightning's name first."""

_OBJECTS = ("argparse.Namespace", "types.SimpleNamespace")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_QUANTIZED = frozenset({"_packed_params", "qweight", "absmax", "SCB", "weight_scale", "weight_packed"})
_MAX_DEPTH = 20
_MAX_ITEMS = 100_000
_LEVELS = 3
_SHOWN = 4

Shapes = dict[str, tuple[int, ...]]


def weights_of(value: Any) -> dict[str, Shapes]:
    """The state_dicts in a checkpoint by where they stand, "" for the whole file, the outermost first."""
    found: dict[str, Shapes] = {}
    level = [("", value)]
    for _ in range(_LEVELS):
        deeper: list[tuple[str, Any]] = []
        for place, item in level:
            if not isinstance(item, dict) or "param_groups" in item:  # an optimizer's state
                continue
            shapes = {name: shape_of(tensor) for name, tensor in item.items() if isinstance(name, str)}
            tensors = {name: shape for name, shape in shapes.items() if shape is not None}
            if tensors or are_quantized(shapes):
                tensors |= {name: () for name in shapes if are_quantized([name])}
                found[place] = tensors
            else:
                deeper += [(f"{place}.{name}".lstrip("."), inner) for name, inner in item.items()]
        level = deeper[:_MAX_ITEMS]
    return found


def are_quantized(names: Iterable[str]) -> bool:
    """Whether the tensors of a state_dict, by their names, are those of quantized layers, whose shapes are others."""
    return any(part in _QUANTIZED for name in names for part in name.split("."))


def settings_of(value: Any) -> tuple[str, dict[str, Any]]:
    """Where a checkpoint keeps the arguments of its model, and the record of each; "" and none where it does not."""
    if isinstance(value, dict):
        for place in _SETTINGS:
            record = value.get(place)
            if isinstance(record, Made) and record.maker.module.startswith("omegaconf"):
                record = record.state.get("_content") if isinstance(record.state, dict) else None
            kept = {name: item for name, item in items_of(record) if isinstance(name, str)}
            if kept:
                return place, kept
    return "", {}


def one_argument(value: Any) -> str:
    """The argument that takes all of a Lightning checkpoint's settings together; "" where each is one."""
    name = value.get("hparams_name") if isinstance(value, dict) else None
    return name if isinstance(name, str) and name.isidentifier() and name != "kwargs" else ""


def plain(record: Any, depth: int = 0) -> Any:
    """The plain data that a record stands for: numbers, text, lists, dicts, and objects that only hold such.

    Raises `TypeError`, which says what else it is.
    """
    if depth > _MAX_DEPTH:
        raise TypeError("nested too deeply")
    if record is None or isinstance(record, (bool, int, float, str, bytes)):
        return record
    if isinstance(record, (list, tuple, set, frozenset)):
        return type(record)(plain(item, depth + 1) for item in record)
    if isinstance(record, dict):
        return {plain(name, depth + 1): plain(item, depth + 1) for name, item in record.items()}
    if isinstance(record, Made) and not record.called and str(record.maker) in _OBJECTS:
        return plain(record.state, depth + 1)
    if isinstance(record, Made) and record.called and record.maker.module.startswith("pathlib"):
        return str(PurePosixPath(*(str(plain(part, depth + 1)) for part in record.args)))
    if isinstance(record, Made) and record.maker.module.startswith("omegaconf") and isinstance(record.state, dict):
        return plain(record.state.get("_content", record.state.get("_val")), depth + 1)
    if isinstance(record, Made) and record.called and record.maker.name in ("scalar", "Size"):
        from estimator.sources.pickles.pickled_tensors import data_of

        try:
            return data_of(record, lambda inner: plain(inner, depth + 1))
        except (ModelFileError, TypeError, ValueError):
            raise TypeError(f"a {record.maker.name}") from None
    if isinstance(record, Global) and record.module == "torch":
        import torch

        found = getattr(torch, record.name, None)
        if isinstance(found, torch.dtype):
            return found
    raise TypeError(f"a {record.maker.name if isinstance(record, Made) else type(record).__name__}")


def no_module_message(value: Any, name: str) -> str:
    """What the file `name` holds instead of a module, and the remedy."""
    remedy = "name the code that builds the model, `estimate file.py:Net` or `estimate package.module:factory`"
    weights = weights_of(value)
    if weights:
        return _weights_message(value, weights, one_line(name, 60))
    if isinstance(value, dict):
        return f"the file holds a dictionary without a model: {remedy}"
    if isinstance(value, Made) and "_rebuild" in value.maker.name:
        return f"the file holds one tensor and no model: {remedy}"
    kind = str(value.maker) if isinstance(value, Made) else type(value).__name__
    return f"the file holds no model but an object of type {one_line(kind, 80)}: {remedy}"


def _weights_message(value: Any, weights: Mapping[str, Shapes], name: str) -> str:
    place, shapes = next(iter(weights.items()))
    parameters = sum(math.prod(shape) for key, shape in shapes.items() if not key.endswith(_STATISTICS))
    where = f"the state_dict `{one_line(place, 40)}`" if place and place != "state_dict" else "a state_dict"
    held = f"{where} of {len(shapes):,} tensors, {parameters:,} parameters"
    if are_quantized(shapes):
        held = f"{where} of quantized layers"
    kept, settings = settings_of(value)
    if settings:
        held += f", and {kept} {', '.join(_told(settings))}"
    code = _class_in(settings) or "file.py:Net"
    last = ", whose arguments are read from it" if settings else ""
    arch = value.get("arch")
    known = next(of_libraries(arch), "") if isinstance(arch, str) else ""
    if known:
        return f"{name} holds weights only ({held}) and names its architecture: give that, `estimate {known}`"
    return (
        f"{name} holds weights only ({held}), which do not tell the architecture: name the code that builds the model "
        f"beside it, `estimate {code} --checkpoint {name}`{last}, or a function that returns the model, `estimate "
        "package.module:factory`"
    )


def _told(settings: Mapping[str, Any]) -> Iterator[str]:
    """The first settings, each as "width=32"."""
    for name, record in list(settings.items())[:_SHOWN]:
        try:
            shown = one_line(repr(plain(record)), 24)
        except TypeError as error:
            shown = f"({one_line(error, 24)})"
        yield f"{one_line(name, 24)}={shown}"
    if len(settings) > _SHOWN:
        yield f"{len(settings) - _SHOWN} more"


def _class_in(settings: Mapping[str, Any]) -> str:
    """The class that LightningCLI keeps among the settings, as it would be typed; "" where there is none."""
    path = settings.get("_class_path")
    if isinstance(path, str) and "." in path and all(part.isidentifier() for part in path.split(".")):
        return one_line(":".join(path.rsplit(".", 1)), 60)
    return ""
