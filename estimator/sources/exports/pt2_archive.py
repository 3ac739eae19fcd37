"""The JSON of a `.pt2` file (torch.export), found and checked; nothing else of the archive is opened.

`torch.export.load` would evaluate the shape expressions of the file as Python and unpickle its sample inputs.
Here symbols are names, their sizes are the batch or the hint that the file gives, and tensors have no bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.sources.inputs import InputSpec
from estimator.sources.loaded import EXPORT_LINE
from estimator.sources.pickles.archive import Archive

MAX_JSON_BYTES = 128 * 2**20
"""Limit of an export's JSON: 3 MB for ResNet-50, about 30 MB for a transformer of 80 layers."""

DAMAGED = f"the .pt2 file does not read as torch writes it: export the model again with `{EXPORT_LINE}`"

DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    9: "complex32",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
}
"""The numbers that torch.export writes for dtypes."""


@dataclass(frozen=True)
class Program:
    """The parts of an exported program that its shapes need, as JSON values."""

    graph: dict[str, Any]
    signature: dict[str, Any]
    argument_names: tuple[str, ...]


@dataclass(frozen=True)
class GraphInput:
    """A tensor that the user passes: its sizes, where a symbol is a string, and the sizes at export time.

    `leading` is the dimension where its batch stands, as far as the program tells.
    """

    name: str
    dtype: str
    sizes: tuple[int | str, ...]
    hints: tuple[int, ...]
    leading: int = 0


def read_program(archive: Archive) -> Program:
    """The exported program of a `.pt2` archive; raises `ModelFileError` where there is none."""
    names = [n for n in archive.names if n.startswith("models/") and n.endswith(".json") and n.count("/") == 1]
    names += [n for n in archive.names if n == "serialized_exported_program.json"]  # torch 2.6 and before
    if not names:
        raise ModelFileError(
            f"the .pt2 file holds compiled code and no exported program: save the program itself with `{EXPORT_LINE}`"
        )
    try:
        content = json.loads(archive.read(names[0], MAX_JSON_BYTES))
        module = content["graph_module"]
        calls = module.get("module_call_graph") or [{}]
        argument_names = ((calls[0].get("signature") or {}).get("forward_arg_names")) or []
        program = Program(module["graph"], module["signature"], tuple(map(str, argument_names)))
        if not isinstance(program.graph["nodes"], list) or not isinstance(program.graph["tensor_values"], dict):
            raise ModelFileError(DAMAGED)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(DAMAGED) from error
    return program


def only(union: Any) -> tuple[str, Any]:
    """The one field of a tagged union, `{"as_int": 3}` as ("as_int", 3)."""
    fields = list(union.items())
    if len(fields) != 1:
        raise ModelFileError(DAMAGED)
    return str(fields[0][0]), fields[0][1]


def size_of(dimension: Any) -> tuple[int | str, int]:
    """One dimension as (size or symbol, size at export time). The symbol's expression is a name, never evaluated."""
    kind, value = only(dimension)
    if kind == "as_int":
        return _count(value), _count(value)
    hint = value.get("hint")
    return str(value["expr_str"]), _count(only(hint)[1]) if hint else 1


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ModelFileError(DAMAGED)
    return value


def user_inputs(program: Program) -> tuple[GraphInput, ...]:
    """The tensors that the user passes, in their order."""
    found = []
    for spec in program.signature["input_specs"]:
        kind, value = only(spec)
        if kind == "user_input" and "as_tensor" in value["arg"]:
            name = value["arg"]["as_tensor"]["name"]
            meta = program.graph["tensor_values"][name]
            sizes = [size_of(dimension) for dimension in meta["sizes"]]
            found.append(
                GraphInput(name, dtype_name(meta["dtype"]), tuple(s for s, _ in sizes), tuple(h for _, h in sizes))
            )
    static = all(isinstance(size, int) for item in found for size in item.sizes)
    steps_first = _steps_first(program.graph) if static else None
    return tuple(replace(item, leading=1) if item.sizes[:2] == steps_first else item for item in found)


_RECURRENT = tuple(f"torch.ops.aten.{kind}.input" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu"))


def _steps_first(graph: dict[str, Any]) -> tuple[int | str, ...] | None:
    """Steps and batch of what the first recurrent layer takes, where it takes the steps first; else None."""
    for node in graph["nodes"]:
        if node["target"] in _RECURRENT:
            batch_first = only(node["inputs"][-1]["arg"])[1]
            taken = graph["tensor_values"][node["inputs"][0]["arg"]["as_tensor"]["name"]]["sizes"]
            sizes = tuple(size_of(dimension)[0] for dimension in taken)
            return sizes[:2] if batch_first is False and len(sizes) == 3 else None
    return None


def dtype_name(number: Any) -> str:
    """The torch dtype that `number` stands for."""
    if number not in DTYPES:
        raise ModelFileError(f"the .pt2 file uses a number format unknown here: {DAMAGED}")
    return DTYPES[number]


def batch_of(inputs: tuple[GraphInput, ...]) -> str | int | None:
    """The batch: the symbol of the first input that has one, else the first size of the first input, else None."""
    symbols = [size for item in inputs for size in item.sizes if isinstance(size, str)]
    leading = [item.sizes[item.leading] for item in sorted(inputs, key=lambda i: -i.leading) if item.sizes]
    first_symbols = [size for size in leading if isinstance(size, str)]
    return (first_symbols or symbols or leading or [None])[0]


def batched(inputs: tuple[GraphInput, ...]) -> tuple[GraphInput, ...]:
    """The inputs that have the batch as a dimension; the others keep the shape of the export."""
    batch = batch_of(inputs)
    return tuple(item for item in inputs if batch is not None and batch in item.sizes)


def input_specs(inputs: tuple[GraphInput, ...]) -> tuple[InputSpec, ...]:
    """The inputs per sample, for those that have the batch as a dimension."""
    batch = batch_of(inputs)
    specs = []
    for item in batched(inputs):
        where = next(place for place in (item.leading, *range(len(item.sizes))) if item.sizes[place] == batch)
        dtype = "float" if item.dtype in ("float32", "float16", "bfloat16", "float64") else item.dtype
        shape = item.hints[:where] + item.hints[where + 1 :]
        specs.append(InputSpec(shape, dtype, batch_dim=where, example_batch=item.hints[where]))
    return tuple(specs)


def inputs_source(inputs: tuple[GraphInput, ...]) -> str:
    """Where the sizes come from; of a dynamic size beside the batch, the export tells only an example."""
    batch = batch_of(inputs)
    open_sizes = {size for item in batched(inputs) for size in item.sizes if isinstance(size, str)} - {batch}
    return "the export's signature" + ("; its example for other dynamic sizes assumed" if open_sizes else "")
