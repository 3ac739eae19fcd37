"""Hostile and broken model files, written byte by byte; none of them is ever unpickled here."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""The first pickle of torch's legacy format."""


class Calls:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def text(value: str) -> bytes:
    """The instruction that pushes a string."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(module: str, attribute: str) -> bytes:
    """The instruction that pushes a global."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def program(*parts: bytes) -> bytes:
    """A pickle program of protocol 2."""
    return b"\x80\x02" + b"".join(parts) + b"."


def new(cls: bytes, state: bytes) -> bytes:
    """The instructions for an object of `cls` with `state`, created without its constructor."""
    return cls + b")\x81" + state + b"b"


def mapping(**items: bytes) -> bytes:
    """The instructions for a dict."""
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def layer(cls: bytes = name("torch.nn.modules.module", "Module"), **attributes: bytes) -> bytes:
    """The instructions for a layer with its usual empty attributes and `attributes`."""
    usual = {"training": b"\x88", "_parameters": b"}", "_buffers": b"}", "_modules": b"}"}
    return new(cls, mapping(**{**usual, **attributes}))


def torch_zip(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, **members: bytes) -> str:
    """An archive as `torch.save` writes it, around `pickled`."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", b"3\n")
        for member, content in members.items():
            file.writestr(f"archive/{member}", content)
    return str(path)


def legacy(path: Path, pickled: bytes) -> str:
    """A file in torch's format before 1.6, around `pickled`."""
    head = MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    path.write_bytes(head + pickled + pickle.dumps([], 2))
    return str(path)


def tensor(name: str) -> dict[str, object]:
    """The JSON for a tensor argument."""
    return {"as_tensor": {"name": name}}


def node(target: str, *arguments: dict[str, object], outputs: tuple[str, ...] = ("y",)) -> dict[str, object]:
    """The JSON for one op."""
    return {
        "target": target,
        "inputs": [{"name": "", "arg": argument, "kind": 1} for argument in arguments],
        "outputs": [tensor(output) for output in outputs],
        "metadata": {},
    }


def export_json(*nodes: dict[str, object], size: dict[str, object] | None = None) -> dict[str, object]:
    """The JSON of an exported program that takes one tensor `x` of 2 x 8 and gives `y`."""
    meta = {
        "dtype": 7,
        "sizes": [size or {"as_int": 2}, {"as_int": 8}],
        "requires_grad": False,
        "device": {"type": "cpu", "index": None},
    }
    return {
        "graph_module": {
            "graph": {
                "inputs": [tensor("x")],
                "outputs": [tensor("y")],
                "nodes": list(nodes),
                "tensor_values": {"x": meta},
            },
            "signature": {
                "input_specs": [{"user_input": {"arg": tensor("x")}}],
                "output_specs": [{"user_output": {"arg": tensor("y")}}],
            },
            "module_call_graph": [],
        },
        "schema_version": {"major": 8, "minor": 20},
    }


def pt2(path: Path, content: object, **members: bytes) -> str:
    """A `.pt2` archive around the JSON `content`."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/archive_format", "pt2")
        file.writestr("model/models/model.json", content if isinstance(content, (str, bytes)) else json.dumps(content))
        for member, value in members.items():
            file.writestr(f"model/{member}", value)
    return str(path)


def zip_bytes(members: dict[str, bytes]) -> bytes:
    """A zip archive of `members`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for member, content in members.items():
            file.writestr(member, content)
    return stream.getvalue()
