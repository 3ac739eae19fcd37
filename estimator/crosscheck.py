"""Our FLOPs beside fvcore's and torch's own counter, and why they differ where they do.

fvcore counts one per multiply-accumulate on real CPU tensors through its own tracer; its counts are doubled here.
torch's `FlopCounterMode` runs on meta tensors. Both are independent of `estimator.trace`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from estimator.errors import FOREIGN_ERRORS
from estimator.footprint import input_specs, workload_of
from estimator.inputs import InputSpec, build_inputs
from estimator.recorder import tensors_in
from estimator.scenario import Scenario
from estimator.sources import LoadedModel
from estimator.trace import module_mode

Part = Literal["convolutions", "matrix products", "attention", "recurrent", "other"]
PARTS: tuple[Part, ...] = ("convolutions", "matrix products", "attention", "recurrent", "other")
REAL_TENSOR_LIMIT_BYTES = 4e9
"""Models with more parameter bytes are not given real tensors, so fvcore is not asked."""

_OURS: Mapping[str, Part] = {
    "conv": "convolutions",
    "matmul": "matrix products",
    "attention": "attention",
    "rnn": "recurrent",
}
_PART_OF_OPERATOR: Mapping[str, Part] = {
    "conv": "convolutions",
    **dict.fromkeys(("linear", "addmm", "mm", "bmm", "matmul", "einsum", "baddbmm"), "matrix products"),
}


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
        common: tuple[Part, ...] = ("convolutions", "matrix products")
        theirs = sum(self.fvcore.get(part, 0) for part in common)
        return (sum(self.ours.get(part, 0) for part in common) - theirs) / theirs if theirs else None


def _real_inputs(specs: tuple[InputSpec, ...], dtype: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = build_inputs(specs, 1, getattr(torch, dtype))
    return (
        tuple(torch.zeros(t.shape, dtype=t.dtype) for t in args),
        {name: torch.zeros(t.shape, dtype=t.dtype) for name, t in kwargs.items()},
    )


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


def _fvcore(module: nn.Module, specs: tuple[InputSpec, ...], dtype: str) -> tuple[dict[Part, int], list[str]]:
    from fvcore.nn import FlopCountAnalysis

    args, kwargs = _real_inputs(specs, dtype)
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


def _torch(module: nn.Module, specs: tuple[InputSpec, ...], dtype: str) -> dict[Part, int]:
    args, kwargs = build_inputs(specs, 1, getattr(torch, dtype))
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(*args, **kwargs)
    counts: dict[Part, int] = {}
    for op, count in counter.get_flop_counts()["Global"].items():
        name = str(op).removeprefix("aten.")
        part: Part = "convolutions" if "conv" in name else "attention" if "attention" in name else "matrix products"
        counts[part] = counts.get(part, 0) + int(count)
    return counts


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:100]}" if lines else type(error).__name__


def _explain(ours: Mapping[Part, int], fvcore: Mapping[Part, int] | None) -> Iterator[str]:
    if fvcore is not None and fvcore.get("other"):
        yield "fvcore also counts norms and pools ('other'): not multiply-accumulates, so set apart here"
    if ours.get("attention"):
        yield "torch runs attention unfused on meta tensors, so that it counts among its matrix products"
    if ours.get("recurrent"):
        yield "torch unrolls recurrent layers on meta tensors, so that they count among its matrix products"


def compare(model: LoadedModel, scenario: Scenario) -> CrossCheck:
    """Count one forward pass of `model` at batch 1 by all three counters."""
    specs, _ = input_specs(model, scenario)
    dtype = scenario.value_of("dtype")
    workload = workload_of(model, specs, 1, scenario, training=False)
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
        else:
            try:
                by_fvcore, skipped = _fvcore(model.module, specs, dtype)
                notes += skipped
            except FOREIGN_ERRORS as error:
                notes.append(f"fvcore cannot trace this model ({_reason(error)})")
        try:
            by_torch = _torch(model.module, specs, dtype)
        except FOREIGN_ERRORS as error:
            notes.append(f"torch's counter cannot run this model on meta tensors ({_reason(error)})")
    return CrossCheck(model.name, ours, by_fvcore, by_torch, (*notes, *_explain(ours, by_fvcore)))
