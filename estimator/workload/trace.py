"""Read a model's operations without running it: forward, backward and optimizer, on tensors that hold no data.

The model runs once on meta tensors under a dispatch mode that writes every operation down. A model that reads the
VALUES of tensors cannot run there; it is traced again under `FakeTensorMode`, which knows constants, and what is
really data-dependent is guessed (the dearer way, present, 1) and reported in `Workload.guesses`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.stateless import _reparametrize_module

from estimator.base.budget import spending
from estimator.base.errors import FOREIGN_ERRORS, InputError, JoulecastError
from estimator.base.nests import each, with_each
from estimator.base.remedies import said_and_remedy
from estimator.workload.execution.accumulation import adding_ops
from estimator.workload.execution.autocast import autocasting, ready_to_autocast
from estimator.workload.execution.checkpointing import checkpointed
from estimator.workload.execution.dataflow import DataFlow
from estimator.workload.execution.fusion import fuse
from estimator.workload.execution.gradient_scaling import unscaling_ops
from estimator.workload.execution.layouts import with_channels_last
from estimator.workload.execution.settings import EAGER, Execution
from estimator.workload.execution.trained import stand_ins, trainable_parameters
from estimator.workload.fused import FuseCalls
from estimator.workload.guesses import EndlessLoop, NeedsValues, Ways
from estimator.workload.higher_order import uncompiled
from estimator.workload.kernels.scans import one_op_a_scan
from estimator.workload.kernels.stored_weights import with_stored_weights
from estimator.workload.loss import assumed_loss, unread_outputs
from estimator.workload.memory.held import allocations
from estimator.workload.modes import module_mode, quiet, unchecked
from estimator.workload.ops import Workload
from estimator.workload.optimizers import optimizer_ops
from estimator.workload.placement import placed
from estimator.workload.recorder import OpRecorder
from estimator.workload.ways import dearest


@dataclass(frozen=True)
class TraceInputs:
    """What `forward` is called with: meta tensors with the batch dimension in place."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 1


class _Stopped(Exception):
    """What the model's own code raised, and the (path, type) of the layer last entered before."""

    def __init__(self, error: BaseException, layer: tuple[str, str]) -> None:
        super().__init__()
        self.error, self.layer = error, layer


FAILURES = (_Stopped, *FOREIGN_ERRORS)
"""What ends a pass: the model's code, or torch where it cannot set the pass up."""


_NO_GRAPH = "does not require grad and does not have a grad_fn"
"""What autograd says where a gradient is asked of a result without a graph."""


@contextlib.contextmanager
def _told_by_layer(recorder: OpRecorder) -> Iterator[None]:
    """The model's own code may raise anything, or exit: that becomes `_Stopped`; the user's interrupt does not."""
    try:
        yield
    except JoulecastError:  # a program read as data says itself what is wrong with it
        raise
    except (Exception, SystemExit) as error:
        raise _Stopped(error, recorder.entered) from error


def _run_backward(loss: Tensor, seed: Tensor) -> None:
    """`loss.backward(seed)`, but with function modes left on: what a checkpoint calls again is placed and fused too."""
    engine = torch.autograd.Variable._execution_engine
    engine.run_backward((loss,), (seed,), False, False, (), allow_unreachable=True, accumulate_grad=True)


def _one_pass(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    recorder: OpRecorder,
    trainable: frozenset[str] | None,
    execution: Execution,
) -> None:
    """Forward, and backward if this is training; both run the model's code (custom and checkpointed functions)."""
    recorder.memory.made(list(each((args, kwargs), Tensor)))
    loss = None
    with autocasting(execution.autocast):
        output = module(*args, **kwargs)
        if trainable is not None:
            recorder.layer_scope("", "loss")
            loss, recorder.loss = assumed_loss(output)
    if trainable is not None:
        recorder.memory.forward_ends()
        _backward(module, output, loss, recorder, trainable)
    recorder.memory.end(module.parameters())


def _backward(
    module: nn.Module, output: Any, loss: Tensor | None, recorder: OpRecorder, trainable: frozenset[str]
) -> None:
    if unread := unread_outputs(output):
        recorder.guesses.note(f"not part of the assumed loss, since it cannot be read: {', '.join(unread)}", "at least")
    if loss is not None:
        seed = torch.ones_like(loss)
        recorder.layer_scope("", type(module).__name__)  # which adds up gradients that meet
        _run_backward(loss, seed)
    elif trainable:
        recorder.guesses.note("no backward pass: no output of the model depends on a trained parameter")


@contextlib.contextmanager
def recording(
    module: nn.Module,
    inputs: TraceInputs,
    trainable: frozenset[str] | None,
    dtype: torch.dtype,
    *,
    fake: bool = False,
    ways: Ways | None = None,
    graph: bool = False,
) -> Iterator[tuple[OpRecorder, tuple[Any, ...], dict[str, Any]]]:
    """While active, what `module` does is written down: the recorder, and the inputs to call it with.

    Its parameters and buffers are stand-ins without data; those named in `trainable` ask for a gradient. None is
    inference: parameters ask for one as they do in the module, since PyTorch chooses kernels by it, but no graph is
    built, unless `graph` says so. `fake` traces under `FakeTensorMode`; `ways` lets values that nobody knows be
    guessed, and says how.
    """
    device = "cpu" if fake else "meta"
    recorder = OpRecorder({id(m): (n, type(m).__name__) for n, m in module.named_modules()}, ways)
    if hasattr(module, "layer_scope"):
        module.layer_scope = recorder.layer_scope  # type: ignore[assignment]  # a program read as data tells its layers itself
    with spending(), contextlib.ExitStack() as stack:
        if fake:
            stack.enter_context(quiet())
            stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(torch.device(device))
        stack.enter_context(placed(device))
        stack.enter_context(unchecked())
        stack.enter_context(uncompiled())
        stack.enter_context(one_op_a_scan(module, recorder.fused))
        # also without a graph: a product whose weight asks for a gradient is folded (ATen's should_fold)
        ghosts = stand_ins(module, trainable_parameters(module) if trainable is None else trainable, dtype, device)

        def on_device(t: Tensor) -> Tensor:
            return torch.empty_like(t, device=device)

        if ways is not None:
            recorder.guesses.known.buffers(ghosts, module.named_buffers(remove_duplicate=False))
        args, kwargs = with_each((inputs.args, inputs.kwargs), Tensor, on_device)
        recorder.memory.hold(ghosts.values())
        stack.enter_context(recorder.following_layers())
        stack.enter_context(torch.set_grad_enabled(graph or trainable is not None))
        stack.enter_context(FuseCalls(recorder.guesses))
        stack.enter_context(recorder)
        stack.enter_context(_reparametrize_module(module, ghosts, tie_weights=False))
        with _told_by_layer(recorder):
            yield recorder, args, kwargs


def _run(
    module: nn.Module,
    inputs: TraceInputs,
    trainable: frozenset[str] | None,
    dtype: torch.dtype,
    execution: Execution,
    *,
    fake: bool = False,
    ways: Ways | None = None,
) -> OpRecorder:
    """One pass under the recorder, as in `recording`. Raises `_Stopped` where the model's code raises.

    A model whose forward pass takes gradients (forces of an energy) is not served under `torch.no_grad`, nor traced so.
    """

    def once(graph: bool) -> OpRecorder:
        with recording(module, inputs, trainable, dtype, fake=fake, ways=ways, graph=graph) as (recorder, args, kwargs):
            recorder.dataflow = DataFlow() if execution.compiled else None
            _one_pass(module, args, kwargs, recorder, trainable, execution)
        return recorder

    try:
        return once(graph=False)
    except _Stopped as stopped:
        if trainable is not None or _NO_GRAPH not in str(stopped.error):
            raise
        return once(graph=True)


def _does_not_fit(failure: BaseException, inputs: TraceInputs) -> InputError:
    """The error for one of `FAILURES`: the input, the layer, what was raised, and a remedy."""
    error, path, layer_type = failure, "", ""
    if isinstance(failure, _Stopped):
        error, (path, layer_type) = failure.error, failure.layer
    where = f" in layer {path or 'the model'} ({layer_type})" if layer_type else ""
    if isinstance(error, EndlessLoop):
        return InputError(
            f"forward loops on a tensor's value{where}, and no guess of that value ends the loop; bound the loop by a "
            "number of rounds, such as `for _ in range(50)`."
        )
    shapes = ", ".join("x".join(map(str, t.shape)) for t in each((inputs.args, inputs.kwargs), Tensor))
    sentence, remedy = said_and_remedy(error)
    return InputError(f"The model does not run on an input of {shapes} (batch first){where}: {sentence}; {remedy}")


def _guessing_all(module: nn.Module, inputs: TraceInputs, *how: Any) -> OpRecorder:
    """The last resort, for a model with plain tensors on meta, which do not mix with fake ones on the CPU."""
    try:
        return dearest(lambda ways: _run(module, inputs, *how, ways=ways), FAILURES)
    except FAILURES as failure:
        raise _does_not_fit(failure, inputs) from failure


def _traced(module: nn.Module, inputs: TraceInputs, *how: Any) -> OpRecorder:
    """On meta tensors, else on fake ones, else on meta tensors with every value guessed; `how`: see `_run`."""
    try:
        return _run(module, inputs, *how)
    except FAILURES as on_meta:
        try:
            return dearest(lambda ways: _run(module, inputs, *how, fake=True, ways=ways), FAILURES)
        except FAILURES as on_fake:
            if _raised(on_fake, EndlessLoop):
                raise _does_not_fit(on_fake, inputs) from on_fake
            if not _raised(on_meta, NeedsValues):
                raise _does_not_fit(on_meta, inputs) from on_fake
            return _guessing_all(module, inputs, *how)


def _raised(failure: BaseException, kind: type[Exception]) -> bool:
    return isinstance(failure, _Stopped) and isinstance(failure.error, kind)


def trace(
    module: nn.Module,
    inputs: TraceInputs,
    *,
    dtype: str = "float32",
    optimizer: str | None = None,
    freeze: Sequence[str] = (),
    execution: Execution = EAGER,
) -> Workload:
    """The ops of one forward pass (`optimizer` None), or of one training step with that optimizer.

    Nothing is computed and no weight is read; `module` is left as it was. `dtype` ("float32", "bfloat16",
    "float16") is that of the floating parameters, buffers and activations; what `execution` says beyond it is for
    parameters in float32. Raises `InputError` where the model does not run on the inputs, `ScenarioError` for a
    `freeze` pattern that matches nothing.
    """
    torch_dtype: torch.dtype = getattr(torch, dtype)
    trainable = trainable_parameters(module, freeze) if optimizer else None
    with (
        module_mode(module, training=optimizer is not None),
        ready_to_autocast(execution.autocast),
        checkpointed(module, wanted=execution.checkpointing and trainable is not None),
    ):
        recorder = _traced(module, inputs, trainable, torch_dtype, execution)
    ops = with_stored_weights(recorder.ops, module, torch_dtype.itemsize)
    if recorder.dataflow is not None:
        ops = fuse(with_channels_last(ops), recorder.dataflow.flows)
    if optimizer and trainable:
        steps = list(optimizer_ops(module, trainable, optimizer, torch_dtype))
        scaled = execution.autocast is not None and execution.autocast.scaler
        ops += adding_ops(steps, execution.accumulate, torch_dtype.itemsize)
        ops += [*unscaling_ops(steps), *steps] if scaled else steps
    uncovered = dict(recorder.uncovered)
    told, bound, fused = recorder.guesses.told(), recorder.guesses.bound, tuple(recorder.fused)
    calls, loss = 0 if execution.compiled else recorder.module_calls, recorder.loss
    held = allocations(module, trainable, torch_dtype, optimizer, recorder.memory.lifetimes, execution.accumulate)
    return Workload(
        tuple(ops),
        inputs.batch_size,
        calls,
        uncovered,
        told,
        loss,
        bound,
        fused,
        execution.accumulate,
        held,
        execution.dispatch,
    )
