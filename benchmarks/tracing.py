"""The trace's time over FlopCounterMode's and fvcore's, on the same models and inputs, in one process and in turns.

FlopCounterMode counts ONE FORWARD pass on meta tensors; both our forward trace and our whole training step (forward,
backward and optimizer) are divided by that. fvcore works on real CPU tensors, computing while it traces.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.figure import Figure, interleaved, of_samples
from benchmarks.models import TRACED, on_meta
from estimator.workload.recorder import tensors_in
from estimator.workload.trace import TraceInputs, trace

REPEATS, FVCORE_REPEATS = 9, 3


class _TensorsOut(nn.Module):
    """fvcore's tracer takes no dictionaries."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> list[Tensor]:
        out: Any = self.module(x)
        return tensors_in(tuple(out.values()) if isinstance(out, dict) else (out,), [])


def _with_data(module: nn.Module) -> nn.Module:
    real = copy.deepcopy(module).to_empty(device="cpu")
    with torch.no_grad():
        for t in (*real.parameters(), *real.buffers()):
            t.zero_()
    return _TensorsOut(real).eval()


def _by_torch(module: nn.Module, x: Tensor) -> None:
    with FlopCounterMode(display=False), torch.no_grad():
        module(x)


def _by_fvcore(module: nn.Module, x: Tensor) -> None:
    analysis = FlopCountAnalysis(module, x)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none").total()


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def measure() -> Iterator[Figure]:
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    for name in TRACED:
        module, x = on_meta(name)
        inputs = TraceInputs((x,))
        calls = (
            lambda module=module, x=x: _by_torch(module, x),
            lambda module=module, inputs=inputs: trace(module, inputs),
            lambda module=module, inputs=inputs: trace(module, inputs, optimizer="adam"),
        )
        torchs, forward, step = interleaved(calls, REPEATS)
        note = f"FlopCounterMode {min(torchs) * 1e3:.0f} ms"
        yield of_samples(f"{name}: forward / FlopCounterMode", _ratios(forward, torchs), "x", 1.0, note)
        yield of_samples(f"{name}: training step / FlopCounterMode", _ratios(step, torchs), "x", 2.5)
        real, sample = _with_data(module), torch.zeros(x.shape, dtype=x.dtype)
        by_fvcore = (lambda real=real, sample=sample: _by_fvcore(real, sample), calls[1])
        fvcores, forward = interleaved(by_fvcore, FVCORE_REPEATS)
        note = f"fvcore {min(fvcores) * 1e3:.0f} ms"
        yield of_samples(f"{name}: forward / fvcore", _ratios(forward, fvcores), "x", None, note)
