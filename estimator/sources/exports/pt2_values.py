"""The arguments and results of an exported program's nodes, as Python values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.exports import pt2_archive
from estimator.sources.exports.pt2_archive import DAMAGED, only
from estimator.sources.loaded import NAME_THE_CODE

Values = dict[str, Any]
"""What the nodes so far computed, by the names in the graph."""

_PLAIN = frozenset(
    f"as_{kind}" for kind in ("int", "ints", "float", "floats", "bool", "bools", "string", "strings", "int_lists")
)
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_STRIDED = 7


def value_of(argument: Any, values: Values, device: torch.device) -> Any:
    """The Python value of one argument of a node; every device in the file becomes `device`."""
    kind, value = only(argument)
    if kind in _PLAIN:
        return value
    if kind == "as_device":
        return device
    if kind == "as_optional_tensor":
        return value_of(value, values, device)
    if kind == "as_optional_tensors":
        return [value_of(item, values, device) for item in value]
    if kind not in _READERS:
        raise ModelFileError(
            f"the .pt2 file uses an argument of the kind {one_line(kind, 40)}, unknown here: {NAME_THE_CODE}"
        )
    return _READERS[kind](value, values)


def store(outputs: list[Any], result: Any, values: Values) -> None:
    """Give the results of a node their names."""
    if not outputs:
        return
    if len(outputs) == 1 and "as_tensors" in outputs[0]:
        outputs = [{"as_tensor": item} for item in outputs[0]["as_tensors"]]
    elif len(outputs) == 1 and not isinstance(result, (list, tuple)):
        result = [result]
    for output, value in zip(outputs, result, strict=False):
        kind, name = only(output)
        if kind in ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"):
            values[name.get("as_name") or name.get("name")] = value
        elif kind == "as_tensors":
            values.update({item["name"]: part for item, part in zip(name, value, strict=True)})


def _known(name: str, values: Values) -> Any:
    if name not in values:
        raise ModelFileError(DAMAGED)
    return values[name]


def _symbol(value: Any, values: Values) -> Any:
    """A number that the graph computed, or a constant one."""
    kind, content = only(value)
    return _known(content, values) if kind == "as_name" else content


def _symbols(value: Any, values: Values) -> Any:
    return [_symbol(item, values) for item in value]


_READERS: dict[str, Callable[[Any, Values], Any]] = {
    "as_none": lambda value, values: None,
    "as_tensor": lambda value, values: _known(value["name"], values),
    "as_tensors": lambda value, values: [_known(item["name"], values) for item in value],
    **dict.fromkeys(("as_sym_int", "as_sym_float", "as_sym_bool"), _symbol),
    **dict.fromkeys(("as_sym_ints", "as_sym_floats", "as_sym_bools"), _symbols),
    "as_scalar_type": lambda value, values: getattr(torch, pt2_archive.dtype_name(value)),
    "as_memory_format": lambda value, values: _MEMORY_FORMATS[value],
    "as_layout": lambda value, values: torch.strided if value == _STRIDED else None,
    "as_complex": lambda value, values: complex(value["real"], value["imag"]),
}
