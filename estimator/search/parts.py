"""Training steps composed of parts that were traced before: a layer of a known kind is not run again.

A module is traced on its own, on stand-ins for its inputs, once for its forward pass and once for every layout of the
gradients that come back. In a larger module, calls of its children are then answered from memory: their outputs are
made again, their ops are told again, and only what stands between them (sums, reshapes, functional code) is run. A
chain of children (`nn.Sequential`) is not run at all. What may not be put together so, because parameters are shared,
is left to `estimator.workload.trace`.

What is kept of ops is for the caller to say, by two functions: one tells of some ops (a `Workload`) what is to be kept,
the other puts together what was told of several (`estimator.search.told`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic

import torch
from torch import Tensor, nn

from estimator.search.recent import Recent
from estimator.search.scored import Loss, Scored
from estimator.search.signature import Like, Structure
from estimator.search.stand_in import (
    SINGLE,
    Backward,
    Form,
    Gradients,
    Inputs,
    Part,
    StandIn,
    Told,
    inputs_of,
    sources_of,
)
from estimator.workload.ops import Workload
from estimator.workload.optimizers import optimizer_ops
from estimator.workload.recorder import OpRecorder
from estimator.workload.trace import TraceInputs, recording

_ROOM = 2**13
"""Parts that are remembered."""


class _NotKnown(BaseException):
    """Ends a pass at a call of a part that was never traced; the pass is begun again when it was."""

    def __init__(self, module: nn.Module, inputs: Inputs, gradients: Gradients | None = None) -> None:
        self.module, self.inputs, self.gradients = module, inputs, gradients


class _NotApart(BaseException):
    """Ends a pass in which some parameter gets gradients from two places, or a call is made again in the backward pass:
    parts do not tell what happens there, so the pass is begun again without any.
    """


@dataclass
class _Pass(Generic[Told]):
    """One pass under way: its recorder, and what the parts in it did."""

    recorder: OpRecorder
    anchor: Tensor
    forward: list[Told] = field(default_factory=list)
    backward: list[Told] = field(default_factory=list)
    trained: dict[int, nn.Module] = field(default_factory=dict)
    calls: int = 0

    def answer(self, module: nn.Module, structure: Structure) -> None:
        """Note a call of `module` that is answered from memory. Raises `_NotApart`."""
        checkpointed = torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
        if checkpointed or id(module) in self.trained or torch._C._current_autograd_node() is not None:
            raise _NotApart
        if id(module) in structure.trained_modules:
            self.trained[id(module)] = module
        self.calls += 1

    def end(self) -> None:
        """After the backward pass: parameters of modules that were answered have no gradient. Raises `_NotApart`."""
        if any(p.grad is not None for module in self.trained.values() for p in module.parameters()):
            raise _NotApart


def _called_by(module: nn.Module, found: dict[int, nn.Module]) -> list[nn.Module]:
    """The children that the code of `module` may call, those in lists and dictionaries of modules too."""
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            _called_by(child, found)
        elif "forward" not in vars(child):
            found[id(child)] = child
    return list(found.values())


class Parts(Generic[Told]):
    """Training steps of models, composed of remembered parts, for one dtype and one optimizer.

    `tell` says what to keep of ops, `together` puts together what was told of several (see above).
    """

    def __init__(
        self, dtype: str, optimizer: str, tell: Callable[[Workload], Told], together: Callable[[Sequence[Told]], Told]
    ) -> None:
        self._dtype, self._optimizer = getattr(torch, dtype), optimizer
        self._tell, self._together = tell, together
        self._call = tell(Workload((), 1, 1))
        self._known: Recent[Hashable, Part[Told]] = Recent(_ROOM)
        self._steps: Recent[Hashable, Told] = Recent(_ROOM)
        self._loss = Loss()
        self._structure: Structure

    def step(self, module: nn.Module, structure: Structure, inputs: TraceInputs) -> Told | None:
        """What is told of one training step of `module` (in training mode) on meta tensors; None where it has to be
        traced whole.

        `structure` is that of `module`, always by the same `Signatures`. Raises one of
        `estimator.workload.trace.FAILURES` where the model does not run.
        """
        given = inputs_of(inputs.args, inputs.kwargs)
        if given is None or structure.shared or hasattr(module, "layer_scope"):
            return None
        self._structure = structure
        self._structure.numbers[id(self._loss)] = -1
        pieces = self._scored(module, given)
        if pieces is None:
            return None
        return self._together([*pieces, *map(self._stepped, structure.steps)])

    def _scored(self, module: nn.Module, inputs: Inputs) -> tuple[Told, ...] | None:
        """Forward pass, loss and backward pass; None where no gradient comes back."""
        model = self._part(module, inputs)
        if not model.form.single:
            scored = self._traced(Scored(module), inputs)
            (back,) = scored.backward.values()
            return (scored.forward, back.told) if any(like.requires_grad for like in scored.outputs) else None
        outputs = Inputs(model.outputs)
        loss = self._part(self._loss, outputs)
        if not loss.form.single or not loss.outputs[0].requires_grad:
            return None
        back = self._backward(self._loss, outputs, loss, (loss.outputs[0]._replace(requires_grad=False),))
        through = self._backward(module, inputs, model, back.gradients)
        return model.forward, loss.forward, back.told, through.told

    def _stepped(self, parameters: tuple[Like, ...]) -> Told:
        """What is told of the optimizer's step over the parameters of one module."""
        known = self._steps.get(parameters)
        if known is None:
            holder = nn.Module()
            for index, like in enumerate(parameters):
                holder.register_parameter(str(index), nn.Parameter(like.make()))
            names = frozenset(name for name, _ in holder.named_parameters())
            known = self._tell(Workload(tuple(optimizer_ops(holder, names, self._optimizer, self._dtype)), 1, 0))
            self._steps.put(parameters, known)
        return known

    def _part(self, module: nn.Module, inputs: Inputs) -> Part[Told]:
        """The forward pass of `module`, remembered where it has a signature."""
        number = self._structure.numbers.get(id(module))
        known = self._known.get((number, inputs)) if number else None
        if known is None:
            known = self._chained(module, inputs) or self._traced(module, inputs)
            if number:
                self._known.put((number, inputs), known)
        return known

    def _chained(self, module: nn.Module, inputs: Inputs) -> Part[Told] | None:
        """A chain's part, out of its children's; None where `module` is no chain of single tensors."""
        if type(module) is not nn.Sequential or not self._structure.numbers.get(id(module)) or len(inputs.values) != 1:
            return None
        forward, links = [self._call], list[Inputs]()
        in_place = len(module) == 0
        for child in module:
            part = self._part(child, inputs)
            if not part.form.single:
                return None
            in_place = part.in_place if not links else in_place
            links.append(inputs)
            forward.append(part.forward)
            inputs = Inputs(part.outputs)
        return Part(inputs.tensors, SINGLE, self._together(forward), in_place, tuple(links))

    def _backward(self, module: nn.Module, inputs: Inputs, part: Part[Told], gradients: Gradients) -> Backward[Told]:
        """The backward pass of `part`, which is `module`'s on `inputs`, from the gradients of its outputs."""
        known = part.backward.get(gradients)
        if known is None:
            if part.links is None:
                known = self._traced(module, inputs, gradients).backward[gradients]
            else:
                told, back = list[Told](), gradients
                assert isinstance(module, nn.Sequential)
                for child, link in zip(reversed(list(module)), reversed(part.links), strict=True):
                    one = self._backward(child, link, self._part(child, link), back)
                    told.append(one.told)
                    back = one.gradients
                    if back[0] is None:
                        break
                known = Backward(self._together(told), back)
            part.backward[gradients] = known
        return known

    def _traced(self, module: nn.Module, inputs: Inputs, gradients: Gradients | None = None) -> Part[Told]:
        """The part by running `module`, with its children answered from memory; what is missing there comes first."""
        stand_in = True
        while True:
            try:
                return self._one_pass(module, inputs, gradients, stand_in)
            except _NotKnown as missing:
                part = self._part(missing.module, missing.inputs)
                if missing.gradients is not None:
                    self._backward(missing.module, missing.inputs, part, missing.gradients)
            except _NotApart:
                stand_in = False

    def _one_pass(self, module: nn.Module, inputs: Inputs, gradients: Gradients | None, stand_in: bool) -> Part[Told]:
        """`module` run once on stand-ins, forward and backward."""
        trainable = frozenset(name for name, p in module.named_parameters() if id(p) in self._structure.trained)
        back: list[Gradients] = []
        with recording(module, TraceInputs(()), trainable, self._dtype) as (recorder, _, _):
            under_way = _Pass[Told](recorder, torch.empty(0, device="meta", requires_grad=True))
            values, sources = sources_of(inputs, under_way.anchor, back)
            versions = [(t, t._version) for t in values if isinstance(t, Tensor)]
            owned = {t.untyped_storage()._cdata for t in (*module.parameters(), *[t for t, _ in versions])}
            positional = len(values) - len(inputs.keywords)
            keywords = dict(zip(inputs.keywords, values[positional:], strict=True))
            with self._standing_in(module, under_way) if stand_in else contextlib.nullcontext():
                output = module(*values[:positional], **keywords)
                form, outputs = Form.of(output)
                likes, forward_ops = tuple([Like.of(t) for t in outputs]), len(recorder.ops)
                if gradients is None:
                    gradients = tuple(
                        [like._replace(requires_grad=False) if like.requires_grad else None for like in likes]
                    )
                ends = [(t, g.make()) for t, g in zip(outputs, gradients, strict=True) if g is not None]
                if ends:
                    torch.autograd.backward([t for t, _ in ends], [g for _, g in ends])
                under_way.end()
        calls = recorder.module_calls - under_way.calls - isinstance(module, Loss)
        guesses = recorder.guesses
        ops, uncovered = tuple(recorder.ops[:forward_ops]), dict(recorder.uncovered)
        own = Workload(ops, 1, calls, uncovered, guesses.told(), guessed=guesses.bound)
        later = Workload(tuple(recorder.ops[forward_ops:]), 1, 0)
        in_place = (
            any(t._version != before for t, before in versions)
            or any(t.untyped_storage()._cdata in owned for t in outputs)
            or not form.plain
        )
        of_sources = iter(back[0] if back else [None] * sources)
        of_inputs = tuple([next(of_sources) if like.requires_grad else None for like in inputs.tensors])
        part = Part(likes, form, self._together([self._tell(own), *under_way.forward]), in_place)
        part.backward[gradients] = Backward(self._together([self._tell(later), *under_way.backward]), of_inputs)
        return part

    @contextlib.contextmanager
    def _standing_in(self, module: nn.Module, under_way: _Pass[Told]) -> Iterator[None]:
        """While active, calls of the children of `module` are answered from memory."""
        children = _called_by(module, {})
        for child in children:
            child.__dict__["forward"] = partial(self._answer, under_way, child)
        try:
            yield
        finally:
            for child in children:
                del child.__dict__["forward"]

    def _answer(self, under_way: _Pass[Told], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """What `module` returns: stand-ins where its part tells, else what its own code does."""
        number = self._structure.numbers.get(id(module))
        inputs = inputs_of(args, kwargs) if number else None
        part = self._known.get((number, inputs)) if inputs is not None else None
        if inputs is None or (part is not None and part.in_place):
            with self._standing_in(module, under_way):
                return type(module).forward(module, *args, **kwargs)
        if part is None:
            raise _NotKnown(module, inputs)
        under_way.answer(module, self._structure)
        under_way.forward.append(part.forward)
        if not any(like.requires_grad for like in part.outputs):
            made: tuple[Tensor, ...] = tuple([like.make() for like in part.outputs])
        else:
            back = partial(self._answer_backward, under_way, module, inputs, part)
            given = zip((*args, *kwargs.values()), inputs.values, strict=True)
            tensors = [value for value, told in given if type(told) is Like]
            made = StandIn.apply(back, part.outputs, under_way.anchor, *tensors)  # type: ignore[no-untyped-call]
        return part.form.filled(made)

    def _answer_backward(
        self, under_way: _Pass[Told], module: nn.Module, inputs: Inputs, part: Part[Told], gradients: Gradients
    ) -> Gradients:
        known = part.backward.get(gradients)
        if known is None:
            raise _NotKnown(module, inputs, gradients)
        under_way.backward.append(known.told)
        return known.gradients
