"""A `.pt2` file as a module: its graph is carried out node by node on meta tensors, from a list of known ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from estimator.base.errors import ModelFileError
from estimator.sources.exports import pt2_archive, pt2_ops
from estimator.sources.exports.pt2_archive import DAMAGED, Program, only
from estimator.sources.exports.pt2_values import Values, store, value_of
from estimator.sources.loaded import NAME_THE_CODE

LayerScope = Callable[[str, str], None]
"""Told, before each op, the path and the type of the layer that the op belongs to in the exported model."""

_KEYWORD = 2
_DEEPEST = 100
"""Layers within layers: torch walks them by recursion, a few frames for each."""


class Pt2Module(torch.nn.Module):
    """An exported program on the meta device, at any batch where its batch dimension is dynamic.

    Parameters and buffers have their original names. `layer_scope`, if set, is called before each op with the
    path and the type name of the layer it came from. Inputs are positional, or by the name that `forward` had.
    """

    layer_scope: LayerScope | None = None

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._graph = program.graph
        self._argument_names = program.argument_names
        self._weights: dict[str, str] = {}
        self._outputs: list[Any] = []
        self._device = torch.device("meta")
        try:
            self._inputs = pt2_archive.user_inputs(program)
            self._batched = pt2_archive.batched(self._inputs)
            self._register(program.signature["input_specs"])
            for spec in program.signature["output_specs"]:
                kind, value = only(spec)
                if kind == "user_output":
                    self._outputs.append(value["arg"])
            for node in _nodes(self._graph):
                pt2_ops.check_target(node["target"])
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFileError(DAMAGED) from error

    def _register(self, specs: list[Any]) -> None:
        """Create the parameters, buffers and constants under their original names."""
        for spec in specs:
            kind, value = only(spec)
            name_key = {
                "parameter": "parameter_name",
                "buffer": "buffer_name",
                "tensor_constant": "tensor_constant_name",
            }
            if kind in name_key:
                graph_name, name = value["arg"]["name"], str(value[name_key[kind]])
                self._weights[graph_name] = name
                owner, leaf = self._owner(name)
                meta = self._graph["tensor_values"][graph_name]
                tensor = _tensor(meta)
                if kind == "parameter":
                    owner.register_parameter(leaf, torch.nn.Parameter(tensor, bool(meta["requires_grad"])))
                else:
                    owner.register_buffer(leaf, tensor)
            elif kind == "custom_obj":
                raise ModelFileError(f"the .pt2 file carries objects of its author's own types: {NAME_THE_CODE}")

    def _owner(self, name: str) -> tuple[torch.nn.Module, str]:
        """The (empty) submodule that holds the parameter `name`, and the last part of the name."""
        *path, leaf = name.split(".")
        if len(path) > _DEEPEST:
            raise ModelFileError(f"the .pt2 file nests its layers more deeply than any model: {NAME_THE_CODE}")
        owner: torch.nn.Module = self
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, torch.nn.Module())
            child = owner._modules[part]
            if child is None:
                raise ModelFileError(DAMAGED)
            owner = child
        return owner, leaf

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> Any:
        """Carry out the graph on `args` (the inputs that have a batch, in order) or on inputs by name."""
        given = next((t for t in [*args, *kwargs.values(), *self.parameters()] if isinstance(t, torch.Tensor)), None)
        self._device = given.device if given is not None else torch.device("meta")
        values = self._bind(args, kwargs)
        for graph_name, name in self._weights.items():
            owner, leaf = self._owner(name)
            values[graph_name] = getattr(owner, leaf)
        self._run(self._graph, values)
        results = [value_of(argument, values, self._device) for argument in self._outputs]
        return results[0] if len(results) == 1 else tuple(results)

    def _bind(self, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> Values:
        """The graph's inputs: given ones, and the rest in the shape of the export."""
        if len(args) > len(self._batched):
            raise TypeError(f"the exported program takes {len(self._batched)} inputs and got {len(args)}")
        values: Values = {item.name: given for item, given in zip(self._batched, args, strict=False)}
        known = {item.name: item.name for item in self._inputs}
        if len(self._argument_names) == len(self._inputs):
            known |= {name: item.name for name, item in zip(self._argument_names, self._inputs, strict=True)}
        for name, given in kwargs.items():
            if name not in known:
                raise TypeError(f"the exported program takes no input {name!r}, but {', '.join(known)}")
            values[known[name]] = given
        for item in self._inputs:
            if item.name not in values:
                values[item.name] = torch.empty(item.hints, dtype=getattr(torch, item.dtype), device=self._device)
            elif len(values[item.name].shape) != len(item.sizes) or any(
                isinstance(size, int) and size != got
                for size, got in zip(item.sizes, values[item.name].shape, strict=True)
            ):
                wanted = " x ".join(str(size) if isinstance(size, int) else "any" for size in item.sizes)
                got = " x ".join(map(str, values[item.name].shape))
                raise ValueError(f"the exported program takes its input {item.name} as {wanted} and got {got}")
        return values

    def _run(self, graph: dict[str, Any], values: Values) -> None:
        for node in graph["nodes"]:
            target = node["target"]
            if pt2_ops.is_assertion(target):
                continue
            if self.layer_scope is not None:
                self.layer_scope(*_layer(node))
            carry_out = self._subgraph if pt2_ops.is_region(target) else self._call
            store(node["outputs"], carry_out(node, values), values)

    def _call(self, node: dict[str, Any], values: Values) -> Any:
        positional, named = [], {}
        for item in node["inputs"]:
            value = value_of(item["arg"], values, self._device)
            if item.get("kind", 1) == _KEYWORD:
                named[item["name"]] = value
            else:
                positional.append(value)
        outputs = node["outputs"]
        listed = len(outputs[0]["as_tensors"]) if outputs and "as_tensors" in outputs[0] else len(outputs)
        return pt2_ops.call(pt2_ops.function_of(node["target"]), positional, named, results=listed, device=self._device)

    def _subgraph(self, node: dict[str, Any], values: Values) -> Any:
        """A region under `no_grad` or autocast: carried out in place."""
        arguments = [
            value_of(item["arg"], values, self._device) for item in node["inputs"] if "as_graph" not in item["arg"]
        ]
        graph = next(item["arg"]["as_graph"]["graph"] for item in node["inputs"] if "as_graph" in item["arg"])
        scope: AbstractContextManager[Any] = nullcontext()
        if node["target"].endswith("wrap_with_set_grad_enabled"):
            scope = torch.set_grad_enabled(bool(arguments[0]))
        inner: Values = {}
        for item, given in zip(graph["inputs"], arguments[len(arguments) - len(graph["inputs"]) :], strict=True):
            store([item], given, inner)
        with scope:
            self._run(graph, inner)
        results = [value_of(argument, inner, self._device) for argument in graph["outputs"]]
        return results if len(node["outputs"]) != 1 or "as_tensors" in node["outputs"][0] else results[0]


def _tensor(meta: Any) -> torch.Tensor:
    """A tensor of this shape without bytes."""
    sizes = [pt2_archive.size_of(dimension)[1] for dimension in meta["sizes"]]
    return torch.empty(sizes, dtype=getattr(torch, pt2_archive.dtype_name(meta["dtype"])), device="meta")


def _layer(node: dict[str, Any]) -> tuple[str, str]:
    """The path and the type name of the innermost layer that a node came from, ("", "") where unknown."""
    stack = node.get("metadata", {}).get("nn_module_stack")
    if not isinstance(stack, str):
        return "", ""
    _, _, place = stack.rpartition(";")[2].partition(",")
    path, _, type_name = place.partition(",")
    if "_empty_nn_module_stack" in stack or not type_name:
        return "", ""
    return path, type_name.rpartition(".")[2]


def _nodes(graph: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a graph and of the graphs inside."""
    for node in graph["nodes"]:
        yield node
        for item in node["inputs"]:
            if "as_graph" in item["arg"]:
                yield from _nodes(item["arg"]["as_graph"]["graph"])
