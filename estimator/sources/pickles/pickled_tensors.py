"""What a pickle builds by a call and that is data: tensors without bytes, sizes, devices and bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import torch

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.loaded import EXPORT_LINE
from estimator.sources.pickles.pickle_data import Global, Made, Storage

Value = Callable[[Any], Any]
"""Turns a record inside a call's arguments into its object."""


def data_of(record: Made, value: Value) -> Any:
    """What one of the calls listed in `allowed` gives; `ModelFileError` for arguments that torch never writes."""
    reader = _READERS.get(record.maker.name)
    if reader is None:
        raise ModelFileError(
            f"the file uses {one_line(record.maker, 80)} in a way that is not read here: save the model with "
            f"`{EXPORT_LINE}`"
        )
    return reader(record.args, value)


def _tensor(args: tuple[Any, ...], value: Value) -> torch.Tensor:
    """`(storage, offset, size, stride, requires_grad, ...)`."""
    storage, _, size, stride, *rest = args
    kind = storage.kind if isinstance(storage, Storage) else None
    dtype = getattr(getattr(torch, kind.name, None), "dtype", None) if isinstance(kind, Global) else None
    return _meta(dtype, value(size), value(stride), requires_grad=bool(rest and rest[0] is True))


def _tensor_v3(args: tuple[Any, ...], value: Value) -> torch.Tensor:
    """`(storage, offset, size, stride, requires_grad, hooks, dtype, ...)`."""
    _, _, size, stride, requires_grad, _, dtype, *_ = args
    return _meta(value(dtype), value(size), value(stride), requires_grad=requires_grad is True)


def _meta_tensor(args: tuple[Any, ...], value: Value) -> torch.Tensor:
    """`(dtype, size, stride, requires_grad)`: saved on the meta device."""
    dtype, size, stride, requires_grad = args
    return _meta(value(dtype), value(size), value(stride), requires_grad=requires_grad is True)


def _parameter(args: tuple[Any, ...], value: Value) -> torch.nn.Parameter:
    """`(data, requires_grad, hooks)`."""
    data, requires_grad, *_ = args
    return torch.nn.Parameter(value(data).detach(), requires_grad is True)


def _bytes(args: tuple[Any, ...], _: Value) -> bytes:
    """`_codecs.encode(text, "latin1")`, or a bytearray of bytes; never of a count, which would allocate."""
    content = args[0]
    if isinstance(content, str):
        return content.encode("latin-1")
    if not isinstance(content, bytes):
        raise ModelFileError("the file asks for bytes without content: save the model again")
    return content


def _numpy_scalar(args: tuple[Any, ...], value: Value) -> bool | int | float:
    """`scalar(dtype("f8"), bytes)`: one number of NumPy as a plain one."""
    dtype, content = args
    kind = dtype.args[0] if isinstance(dtype, Made) else None
    if kind not in _NUMPY_FORMATS:
        raise ModelFileError(
            "the file holds a number of NumPy of an unknown type: save the model again with plain numbers"
        )
    content = value(content)
    if not isinstance(content, bytes) or len(content) != struct.calcsize("<" + _NUMPY_FORMATS[kind]):
        raise ModelFileError("the file holds a number of NumPy without its bytes: save the model again")
    number: bool | int | float = struct.unpack("<" + _NUMPY_FORMATS[kind], content)[0]
    return number


def _meta(dtype: Any, size: Any, stride: Any, *, requires_grad: bool) -> torch.Tensor:
    """A tensor of this shape without bytes."""
    size, stride = tuple(size), tuple(stride)
    if not isinstance(dtype, torch.dtype) or not all(type(n) is int for n in size + stride):
        raise ModelFileError("a tensor of the file has no proper shape or type: save the model again")
    tensor = torch.empty_strided(size, stride, dtype=dtype, device="meta")
    return tensor.requires_grad_() if requires_grad else tensor


_NUMPY_FORMATS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u1": "B", "b1": "?"}
_READERS: dict[str, Callable[[tuple[Any, ...], Value], Any]] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _tensor_v3,
    "_rebuild_meta_tensor_no_storage": _meta_tensor,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
    "Size": lambda args, value: torch.Size(value(args[0])),
    "device": lambda args, value: torch.device("meta"),
    "complex": lambda args, value: complex(value(args[0]), value(args[1])),
    "scalar": _numpy_scalar,
    "encode": _bytes,
    "bytearray": _bytes,
}
