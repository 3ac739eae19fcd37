"""The dispatch mode that writes down every operation of a model, and the layer that called it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.autograd import _get_sequence_nr  # type: ignore[attr-defined]
from torch.utils._python_dispatch import TorchDispatchMode

from estimator.formulas import OpFacts
from estimator.workload import Op, Phase

aten = torch.ops.aten


class NeedsValues(RuntimeError):
    """The model reads a tensor's value, which a meta tensor does not have."""


_READS_VALUES = frozenset({aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select})
_INDEXING = frozenset({aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_})


def _guess(name: str, t: Tensor) -> Any:
    """The stated guess for a value that only data would tell: true, present, 1."""
    if name == "_local_scalar_dense":
        return True if t.dtype == torch.bool else 1.0 if t.is_floating_point() else 1
    if name == "equal":
        return True
    return t.new_empty((t.numel(), t.dim()), dtype=torch.long) if name == "nonzero" else t.new_empty(t.numel())


def _all_selected(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """`x[mask]` with every element selected: each boolean mask becomes the index tensors that it stands for."""
    out: list[Tensor | None] = []
    for i in indices:
        mask = i is not None and i.dtype == torch.bool
        out += [i.new_empty(i.numel(), dtype=torch.long)] * i.dim() if mask and i is not None else [i]
    return out


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

    def __init__(self, layers: dict[int, tuple[str, str]], guess: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []
        self.module_calls = 0
        self.uncovered: Counter[str] = Counter()
        self.guesses: Counter[str] = Counter()
        self.entered = ("", "")
        self._layers, self._guess = layers, guess
        self._stack = [("", "")]
        self._layer_of_node: dict[int, tuple[str, str]] = {}
        self._last_node = _get_sequence_nr() - 1
        self._facts: dict[Any, OpFacts] = {}

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
        self.module_calls += 1
        self.entered = self._layers.get(id(module)) or (self._stack[-1][0], type(module).__name__)
        self._stack.append(self.entered)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._stack.pop()

    def layer_scope(self, path: str, layer_type: str) -> None:
        """Ops from now on belong to this layer (for programs that keep their layers' names as data)."""
        self.entered = self._stack[-1] = (path, layer_type)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, packet = kwargs or {}, func._overloadpacket
        if packet in _READS_VALUES:
            return self._read_value(func, args, kwargs)
        if packet in _INDEXING and any(i is not None and i.dtype == torch.bool for i in args[1]):
            args = (args[0], _all_selected(args[1]), *args[2:])
            self.guesses["every element of a boolean mask is selected"] += 1
        out = func(*args, **kwargs)
        if func.namespace != "prim":
            self._record(func, args, kwargs, out)
        return out

    def _read_value(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = func._overloadpacket.__name__
        if not self._guess:
            raise NeedsValues(name)
        try:
            return func(*args, **kwargs)  # FakeTensorMode knows constants
        except (DataDependentOutputException, DynamicOutputShapeException, NotImplementedError, RuntimeError):
            self.guesses[f"the result of {name.strip('_')} in {self._stack[-1][0] or 'the model'}"] += 1
            return _guess(name, args[0])

    def _place(self) -> tuple[Phase, tuple[str, str]]:
        """Phase and layer of the op just run; a backward op belongs to the layer of its forward op."""
        node = torch._C._current_autograd_node()
        if node is not None:
            return "backward", self._layer_of_node.get(node._sequence_nr(), ("", ""))
        here, last = self._stack[-1], _get_sequence_nr() - 1
        for sequence_nr in range(self._last_node + 1, last + 1):  # autograd nodes made since the previous op
            self._layer_of_node[sequence_nr] = here
        self._last_node = max(last, self._last_node)
        return "forward", here

    def _record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        phase, layer = self._place()
        facts = self._facts.get(func)
        if facts is None:
            facts = self._facts[func] = OpFacts.of(func)
        if facts.free:
            return
        ins = tensors_in(args, [])
        if kwargs:
            tensors_in(kwargs.values(), ins)
        outs = tensors_in((out,), [])
        if facts.kind == "uncovered":
            self.uncovered[str(func._overloadpacket)] += 1
        read, written = facts.count_bytes(args, ins, outs)
        first = outs or ins
        self.ops.append(
            Op(
                phase,
                facts.name,
                facts.kind,
                facts.count_flops(args, out, ins + outs),
                read,
                written,
                str(first[0].dtype)[6:] if first else "",
                tuple([tuple(t.shape) for t in ins]),
                tuple([tuple(t.shape) for t in outs]),
                *layer,
                facts.count_launches(args, ins),
            )
        )
