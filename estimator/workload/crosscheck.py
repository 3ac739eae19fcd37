"""Our FLOPs beside fvcore's and torch's own counter, and why they differ where they do.

fvcore counts one per multiply-accumulate on real CPU tensors through its own tracer; its counts are doubled here.
torch's `FlopCounterMode` runs on meta tensors. Both are independent of `estimator.workload.trace`.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from estimator.base.nests import with_each
from estimator.sources import LoadedModel
from estimator.sources.inputs import InputSpec, build_inputs
from estimator.workload.guesses import LOOP
from estimator.workload.modes import module_mode
from estimator.workload.recorder import tensors_in
from estimator.workload.trace import TraceInputs, trace

Part = Literal["convolutions", "matrix products", "attention", "recurrent", "other"]
PARTS: tuple[Part, ...] = ("convolutions", "matrix products", "attention", "recurrent", "other")
_COMMON: tuple[Part, ...] = ("convolutions", "matrix products")
REAL_TENSOR_LIMIT_BYTES = 4e9
"""Models with more parameter bytes are not given real tensors, so fvcore is not asked."""

_CLOSE = 0.01
"""A relative difference above this is explained by the guesses that were made."""

_OURS: Mapping[str, Part] = {
    "conv": "convolutions",
    "matmul": "matrix products",
    "attention": "attention",
    "rnn": "recurrent",
    "fft": "other",
}
_PART_OF_OPERATOR: Mapping[str, Part] = {
    "conv": "convolutions",
    **dict.fromkeys(("linear", "addmm", "mm", "bmm", "matmul", "einsum", "baddbmm"), "matrix products"),
}


class _Failed(Exception):
    """A counter could not count; the text says why."""


@dataclass(frozen=True)
class CrossCheck:
    """FLOPs (2 per multiply-accumulate) of one forward pass by three counters; None with a reason where one failed."""

    model: str
    ours: Mapping[Part, int]
    fvcore: Mapping[Part, int] | None
    torch: Mapping[Part, int] | None
    notes: tuple[str, ...]

    @property
    def difference_from_fvcore(self) -> float | None:
        """(ours - fvcore) / fvcore over convolutions and matrix products, which both count; None without fvcore."""
        if self.fvcore is None:
            return None
        theirs = _sum(self.fvcore, _COMMON)
        return (_sum(self.ours, _COMMON) - theirs) / theirs if theirs else None


def _sum(counts: Mapping[Part, int], parts: tuple[Part, ...] = PARTS) -> int:
    return sum(counts.get(part, 0) for part in parts)


def _real_inputs(specs: tuple[InputSpec, ...], batch: int, dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    called = build_inputs(specs, batch, getattr(torch, dtype))
    real = with_each(called, torch.Tensor, lambda t: torch.zeros(t.shape, dtype=t.dtype))
    return real  # type: ignore[no-any-return]


def _with_real_tensors(module: nn.Module) -> nn.Module:
    """A copy of `module` on the CPU, every parameter and buffer zero."""
    real = copy.deepcopy(module).to_empty(device="cpu")
    with torch.no_grad():
        for t in (*real.parameters(), *real.buffers()):
            t.zero_()
    return real


class _ByKeyword(nn.Module):
    """fvcore's tracer passes positional inputs only; this hands them on by name."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *values: torch.Tensor) -> list[torch.Tensor]:
        positional = len(values) - len(self.names)
        named = dict(zip(self.names, values[positional:], strict=True))
        out = self.module(*values[:positional], **named)
        return tensors_in((tuple(out.values()) if isinstance(out, dict) else out,), [])


def _fvcore(
    module: nn.Module, specs: tuple[InputSpec, ...], batch: int, dtype: str
) -> tuple[dict[Part, int], list[str]]:
    from fvcore.nn import FlopCountAnalysis

    args, kwargs = _real_inputs(specs, batch, dtype)
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    real = _ByKeyword(_with_real_tensors(module), tuple(kwargs)).eval()
    analysis = FlopCountAnalysis(real, (*args, *kwargs.values()))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    counts: dict[Part, int] = {}
    for operator, count in analysis.by_operator().items():
        part = _PART_OF_OPERATOR.get(operator, "other")
        counts[part] = counts.get(part, 0) + 2 * int(count)
    skipped = [name for name in analysis.unsupported_ops() if "attention" in name or name in _RECURRENT_OPS]
    return counts, [f"fvcore skips {name.removeprefix('aten::')}" for name in skipped]


_RECURRENT_OPS = frozenset({"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"})


def _torch(module: nn.Module, specs: tuple[InputSpec, ...], batch: int, dtype: str) -> dict[Part, int]:
    args, kwargs = build_inputs(specs, batch, getattr(torch, dtype))
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(*args, **kwargs)
    counts: dict[Part, int] = {}
    for op, count in counter.get_flop_counts().get("Global", {}).items():
        name = str(op).removeprefix("aten.")
        part: Part = "convolutions" if "conv" in name else "attention" if "attention" in name else "matrix products"
        counts[part] = counts.get(part, 0) + int(count)
    return counts


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:100]}" if lines else type(error).__name__


def _explain(found: CrossCheck) -> Iterator[str]:
    ours, fvcore = found.ours, found.fvcore
    if fvcore is not None and fvcore.get("other"):
        yield "fvcore also counts norms and pools ('other'): not multiply-accumulates, so set apart here"
    if ours.get("attention"):
        yield "torch runs attention unfused on meta tensors, so that it counts among its matrix products"
    if ours.get("recurrent"):
        yield "torch unrolls recurrent layers on meta tensors, so that they count among its matrix products"
    if found.torch == {} and any(ours.values()):
        yield "torch's counter has no formula for any op of this model"


def _differs(found: CrossCheck) -> bool:
    """Whether ours is more than 1% away from either counter that answered."""

    def off(theirs: Mapping[Part, int] | None, parts: tuple[Part, ...]) -> bool:
        return theirs is not None and abs(_sum(found.ours, parts) - _sum(theirs, parts)) > _CLOSE * _sum(theirs, parts)

    return off(found.fvcore, _COMMON) or off(found.torch, PARTS)


def _per_sample(counts: Mapping[Part, int], batch: int) -> dict[Part, int]:
    return {part: round(count / batch) for part, count in counts.items()}


@contextlib.contextmanager
def _failing_with_reason() -> Iterator[None]:
    """The model's own code may raise anything, or exit: each becomes `_Failed`, whose text is the reason."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise _Failed(_reason(error)) from error


def compare(model: LoadedModel, specs: tuple[InputSpec, ...], dtype: str) -> CrossCheck:
    """Count one forward pass of `model` at batch 1 by all three counters; an export with a fixed batch, at that one.

    `specs` are its inputs, `dtype` that of its weights and activations. The counts are those of one sample.
    """
    batch = model.fixed_batch or 1
    inputs = TraceInputs(*build_inputs(specs, batch, getattr(torch, dtype)), batch)
    workload = trace(model.module, inputs, dtype=dtype)
    ours: dict[Part, int] = {}
    for op in workload.ops:
        if op.kind in _OURS:
            ours[_OURS[op.kind]] = ours.get(_OURS[op.kind], 0) + op.flops
    notes: list[str] = []
    by_fvcore: dict[Part, int] | None = None
    by_torch: dict[Part, int] | None = None
    with module_mode(model.module, training=False):
        needed = sum(p.numel() * p.element_size() for p in model.module.parameters())
        if needed > REAL_TENSOR_LIMIT_BYTES:
            notes.append(f"fvcore was not asked: it needs real tensors, {needed / 1e9:.0f} GB here")
        elif any(guess.startswith(LOOP) for guess in workload.guesses):
            notes.append("fvcore was not asked: the model loops on a tensor's value, and on its zeros it may never end")
        else:
            try:
                with _failing_with_reason():
                    by_fvcore, skipped = _fvcore(model.module, specs, batch, dtype)
                notes += skipped
            except _Failed as error:
                notes.append(f"fvcore cannot trace this model ({error})")
        try:
            with _failing_with_reason():
                by_torch = _torch(model.module, specs, batch, dtype)
        except _Failed as error:
            notes.append(f"torch's counter cannot run this model on meta tensors ({error})")
    found = CrossCheck(
        model.name,
        _per_sample(ours, batch),
        None if by_fvcore is None else _per_sample(by_fvcore, batch),
        None if by_torch is None else _per_sample(by_torch, batch),
        tuple(notes),
    )
    assumed = [f"ours assumes {guess}" for guess in workload.guesses] if _differs(found) else []
    return replace(found, notes=(*notes, *_explain(found), *assumed))
