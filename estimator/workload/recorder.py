"""The dispatch mode that writes down every operation of a model, and the layer that called it."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch.autograd import _get_sequence_nr  # type: ignore[attr-defined]
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from estimator.base import budget
from estimator.workload.execution.dataflow import DataFlow
from estimator.workload.formulas import OpFacts, convolution_of
from estimator.workload.guesses import READS_VALUES, Guesses, Ways
from estimator.workload.kinds import product_of
from estimator.workload.memo import Result, call_key, maker_of, result_of
from estimator.workload.memory.references import LifetimeRecorder
from estimator.workload.ops import Convolution, Layout, Op, Phase

_OF_ONE_DTYPE = frozenset({"mm", "addmm", "bmm", "baddbmm", "mv", "convolution"})


def tensors_in(values: Any, into: list[Tensor]) -> list[Tensor]:
    """The tensors among nested lists and tuples, in order (pytree is too slow for every op)."""
    for value in values:
        if isinstance(value, Tensor):
            into.append(value)
        elif isinstance(value, (list, tuple)):
            tensors_in(value, into)
    return into


class OpRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every op that is dispatched while it is active, with the layer that called it."""

    def __init__(self, layers: dict[int, tuple[str, str]], ways: Ways | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []
        self.module_calls = 0
        self.uncovered: Counter[str] = Counter()
        self.guesses = Guesses(ways)
        self.loss = ""
        self.fused: dict[str, None] = {}
        self.memory = LifetimeRecorder()
        self.dataflow: DataFlow | None = None
        self.entered = ("", "")
        self._layers = layers
        self._stack = [("", "")]
        self._returned = False
        self._first_nodes, self._layers_of_nodes = [_get_sequence_nr()], [("", "")]
        self._facts: dict[Any, tuple[OpFacts, Result]] = {}
        self._seen: dict[Hashable, tuple[Callable[[], Any], Callable[..., Op] | None]] = {}
        self._ops_left = budget.Counter("ops")
        self._calls_left = budget.Counter("layers")

    @contextlib.contextmanager
    def following_layers(self) -> Iterator[None]:
        """While active, module calls are counted and ops belong to the module that calls them."""
        before = nn.modules.module.register_module_forward_pre_hook(self._enter)
        after = nn.modules.module.register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        self._calls_left.spend()
        self.module_calls += 1
        self.entered = self._layers.get(id(module)) or (self._stack[-1][0], type(module).__name__)
        self._stack.append(self.entered)
        self._mark_nodes()

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._stack.pop()
        self._returned = self._returned or len(self._stack) == 1
        self._mark_nodes()

    def _mark_nodes(self) -> None:
        """Autograd nodes made from now on belong to the current layer."""
        self._first_nodes.append(_get_sequence_nr())
        self._layers_of_nodes.append(self._stack[-1])

    def layer_scope(self, path: str, layer_type: str) -> None:
        """Ops from now on belong to this layer (for programs that keep their layers' names as data)."""
        self.entered = self._stack[-1] = (path, layer_type)
        self._mark_nodes()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._ops_left.spend()
        with torch._C.DisableTorchFunction():  # an op is one op: its own kernel's calls are no calls of the model
            return self._recorded(func, args, kwargs or {})

    def _recorded(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.memory.next_op()
        packet = func._overloadpacket
        if packet in READS_VALUES:
            read = self.guesses.read(func, args, kwargs, self._stack[-1][0], len(self.ops))
            self.memory.made(read)
            return read
        args = self.guesses.whole_masks(packet, args, self._stack[-1][0], len(self.ops))
        known = self._facts.get(func)
        if known is None:
            known = self._facts[func] = OpFacts.of(func), result_of(func)
        facts, result = known
        if facts.free and result == "other":
            return self._followed(func, args, kwargs, func(*args, **kwargs))
        key = call_key(func, args, kwargs) if result != "other" else None
        seen = self._seen.get(key) if key else None
        if seen is not None:
            make, op = seen
            out = args[0] if result == "first argument" else make()
        else:
            out = func(*args, **kwargs)
            if packet in _LAID_OUT:
                out = tree_map_only(Tensor, partial(_LAID_OUT[packet], args), out)
            op = None if facts.free else _op_of(facts, args, kwargs, out)
            again = maker_of(out) if key else None
            if again is not None:
                self._seen[key] = again, op
        if op is not None:
            phase, (layer, layer_type) = self._place()
            self.ops.append(op(phase, layer=layer, layer_type=layer_type))
            if facts.kind == "uncovered":
                self.uncovered[str(func._overloadpacket)] += 1
            if self.dataflow is not None:
                self.dataflow.follow(tensors_in((args, tuple(kwargs.values())), []), tensors_in((out,), []))
        if result != "first argument":
            self.memory.made(out)
        return self._followed(func, args, kwargs, out)

    def _followed(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
        """`out`, whose elements are worked out where values are read and constants tell them."""
        if self.guesses.allowed:
            self.guesses.known.follow(func, args, kwargs, out)
        return out

    def _place(self) -> tuple[Phase, tuple[str, str]]:
        """Phase and layer of the op just run; a backward op belongs to the layer of its forward op.

        Gradients that the model itself takes (`torch.autograd.grad` inside `forward`) are part of its forward pass.
        """
        here, node = self._stack[-1], torch._C._current_autograd_node()
        if node is None:
            return "forward", here
        phase: Phase = "backward" if self._returned else "forward"
        if self._returned and len(self._stack) > 1:  # a checkpointed module runs again inside the backward pass
            return phase, here
        return phase, self._layers_of_nodes[bisect_right(self._first_nodes, node._sequence_nr()) - 1]


def _op_of(facts: OpFacts, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Callable[..., Op]:
    """What a call costs: an `Op` but for its phase and its layer."""
    ins = tensors_in(args, [])
    if kwargs:
        tensors_in(kwargs.values(), ins)
    outs = tensors_in((out,), [])
    if facts.name in _OF_ONE_DTYPE and len({t.is_floating_point() or t.is_complex() for t in ins}) > 1:
        raise RuntimeError(f"{facts.name} of integers and floating numbers")  # meta kernels let it pass
    read, written = facts.count_bytes(args, ins, outs)
    first = outs or ins
    return partial(
        Op,
        name=facts.name_of(kwargs),
        kind=facts.kind,
        flops=facts.count_flops(args, kwargs, out, ins + outs),
        bytes_read=read,
        bytes_written=written,
        dtype=str(first[0].dtype)[6:] if first else "",
        inputs=tuple([tuple(t.shape) for t in ins]),
        outputs=tuple([tuple(t.shape) for t in outs]),
        launches=facts.count_launches(args, ins),
        layout=_layout(facts.name, ins),
        convolution=_convolution(facts, args),
        causal=facts.is_causal(args, kwargs),
    )


def _convolution(facts: OpFacts, args: tuple[Any, ...]) -> Convolution | None:
    product = product_of(facts.name)
    return convolution_of(args, backward=product.backward) if product and product.kind == "conv" else None


def _layout(name: str, ins: Sequence[Tensor]) -> Layout:
    """That of the first input with two dimensions or more; a convolution goes by its input, or by its weight."""
    product = product_of(name)
    if product is not None and product.kind == "conv":
        x, weight = ins[product.first :][:2]
        return "channels_last" if "channels_last" in (layout_of(x), layout_of(weight)) else layout_of(x)
    return next((layout_of(t) for t in ins if t.dim() > 1), "contiguous")


def _as_operands(operands: Sequence[Tensor], out: Tensor) -> Tensor:
    """With channels last where the input or the weight has them so (ATen's determine_backend_memory_format)."""
    formats = [suggest_memory_format(t) for t in operands if t.dim() == out.dim()]
    last = next((f for f in formats if f != torch.contiguous_format), None)
    return out if last is None else torch.empty_like(out, memory_format=last)


_LAID_OUT: dict[Any, Callable[[tuple[Any, ...], Tensor], Tensor]] = {
    torch.ops.aten.convolution: lambda args, out: _as_operands(args[:2], out),
    torch.ops.aten.convolution_backward: lambda args, out: _as_operands(args[1:3], out),
    torch.ops.aten.native_layer_norm_backward: lambda args, out: out.contiguous(),
}
"""How kernels lay out results where meta kernels do it otherwise."""


def layout_of(t: Tensor) -> Layout:
    """How `t` lies in memory."""
    if t.is_contiguous():
        return "contiguous"
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = t.dim() in formats and t.is_contiguous(memory_format=formats[t.dim()])
    return "channels_last" if last else "strided"
