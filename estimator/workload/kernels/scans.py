"""Scans over a sequence that transformers runs as one kernel where it finds its library, and as a loop where not.

mamba_ssm, fla and RWKV's own kernel are built for GPUs and are seldom where a model is estimated. What transformers
runs without them (thousands of small ops) is not what the model costs. So each of these functions is one op, with the
products of the reference code and the traffic of its inputs and results.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from estimator.base.errors import FOREIGN_ERRORS
from estimator.workload.ops import COUNTED
from estimator.workload.recorder import OpRecorder

_SCANS = frozenset(
    {
        *("mamba_selective_scan", "mamba2_chunk_scan", "rwkv_linear_attention"),
        *("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule"),
        *("chunk_kimi_delta_attention", "recurrent_kimi_delta_attention"),
    }
)
"""What transformers calls these functions in the files of its models."""


def _traced_only(*args: Any) -> Any:
    raise NotImplementedError("joulecast's scan exists for tracing only; it computes nothing")


_scan = torch.library.custom_op(
    "joulecast::scan", _traced_only, mutates_args=(), schema="(Tensor[] x, int flops, Tensor[] results) -> Tensor[]"
)
_scan_backward = torch.library.custom_op(
    "joulecast::scan_backward", _traced_only, mutates_args=(), schema="(Tensor[] x, int flops, Tensor[] g) -> Tensor[]"
)


@_scan.register_fake
def _results(x: list[Tensor], flops: int, results: list[Tensor]) -> list[Tensor]:
    return [torch.empty_like(t) for t in results]


@_scan_backward.register_fake
def _gradients_of(x: list[Tensor], flops: int, g: list[Tensor]) -> list[Tensor]:
    return [torch.empty_like(t) for t in x]


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.flops = inputs[1]
    ctx.save_for_backward(*inputs[0])


def _gradients(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    """Every product has two gradients; all inputs are read again."""
    given = [g for g in grads if g is not None]
    return list(_scan_backward(list(ctx.saved_tensors), 2 * ctx.flops, given)), None, [None] * len(grads)


_scan.register_autograd(_gradients, setup_context=_keep_inputs)


class _Scans:
    """The scans of one trace: what each costs and gives is counted once for inputs of the same shapes."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[int, Any]] = {}

    def call(self, reference: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """What `reference` returns for these arguments, as the results of one op. Raises as `reference` does."""
        values, structure = tree_flatten((args, kwargs))
        key = reference, structure, tuple((t.shape, t.dtype) if isinstance(t, Tensor) else t for t in values)
        if key not in self._known:
            self._known[key] = _counted(reference, args, kwargs)
        flops, given = self._known[key]
        tensors = [t for t in values if isinstance(t, Tensor)]
        results, shape = tree_flatten(given)
        like = [torch.empty_like(t, device=tensors[0].device) for t in results if isinstance(t, Tensor)]
        outs = iter(_scan(tensors, flops, like))
        return tree_unflatten([next(outs) if isinstance(t, Tensor) else t for t in results], shape)


def _counted(reference: Callable[..., Any], args: Any, kwargs: Any) -> tuple[int, Any]:
    """FLOPs of the products that `reference` makes, and what it returns, on tensors without data beside the trace."""
    recorder = OpRecorder({}, None)
    with _disable_current_modes(), torch.device("meta"), torch.no_grad(), recorder:

        def stand_in(t: Tensor) -> Tensor:
            return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")

        args, kwargs = tree_map_only(Tensor, stand_in, (args, kwargs))
        given = reference(*args, **kwargs)
    return sum(op.flops for op in recorder.ops if op.kind in COUNTED), given


@contextlib.contextmanager
def one_op_a_scan(module: nn.Module, fused: dict[str, None]) -> Iterator[None]:
    """While active, the scans of the transformers models in `module` are one op each; `fused` is told their names.

    One whose reference code reads the values of its inputs runs as it is.
    """
    scans = _Scans()

    def stand_in(name: str, reference: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(reference)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                results = scans.call(reference, args, kwargs)
            except FOREIGN_ERRORS:
                return reference(*args, **kwargs)
            fused[name] = None
            return results

        return call

    homes = {type(part).__module__ for part in module.modules()}
    with contextlib.ExitStack() as stack:
        for home in sorted(name for name in homes if name.startswith("transformers.models.")):
            names = vars(sys.modules[home])
            before = {name: names[name] for name in _SCANS if name in names}
            names.update({name: stand_in(name, reference) for name, reference in before.items()})
            stack.callback(names.update, before)
        yield
