"""What the host pays for every op and every module call on a CPU: where `launch_s` and `module_call_s` come from.

A deep chain of linear layers and ReLUs, so thin that nothing but overhead is left, on one thread. Seconds are divided
by the launches that `estimator.workload.trace` counts for the same chain, since those are what the energy model
multiplies.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.figure import Figure, interleaved, of_samples
from estimator.hardware.datasheet import coefficients
from estimator.workload.loss import training_loss
from estimator.workload.ops import PHASES
from estimator.workload.trace import TraceInputs, trace

DEPTH, WIDTH, REPEATS, CALLS = 200, 8, 25, 1000


def _op_samples(module_call_s: float) -> dict[str, list[float]]:
    """Seconds per launch of each phase of a training step, and of the whole step, without the module calls."""
    layers = [layer for _ in range(DEPTH) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    chain, x = nn.Sequential(*layers), torch.ones(1, WIDTH)
    step = trace(chain, TraceInputs((torch.empty(1, WIDTH, device="meta"),)), optimizer="adam")
    launches = [sum(op.launches for op in step.of_phase(phase)) for phase in PHASES]
    calls_s = step.module_calls * module_call_s
    optimizer = torch.optim.Adam(chain.parameters())

    def backward() -> None:
        loss = training_loss(chain(x))
        assert loss is not None
        loss.backward()  # type: ignore[no-untyped-call]

    def whole() -> None:
        optimizer.zero_grad()
        backward()
        optimizer.step()

    def without_step() -> None:
        optimizer.zero_grad()
        backward()

    forward_s, backward_s, whole_s = interleaved([lambda: chain(x), without_step, whole], REPEATS)
    phases = (
        [t - calls_s for t in forward_s],
        [a - b for a, b in zip(backward_s, forward_s, strict=True)],
        [a - b for a, b in zip(whole_s, backward_s, strict=True)],
    )
    per_op: dict[str, list[float]] = {
        p: [t / n for t in times] for p, times, n in zip(PHASES, phases, launches, strict=True)
    }
    return {**per_op, "all": [(t - calls_s) / sum(launches) for t in whole_s]}


def _module_call_samples() -> list[float]:
    """Seconds that calling a module costs more than calling a function."""
    identity, x = nn.Identity(), torch.ones(1)

    def function(x: Tensor) -> Tensor:
        return x

    def calls(target: nn.Module | object) -> None:
        for _ in range(CALLS):
            target(x)  # type: ignore[operator]

    modules, functions = interleaved([lambda: calls(identity), lambda: calls(function)], REPEATS)
    return [(a - b) / CALLS for a, b in zip(modules, functions, strict=True)]


def measure() -> Iterator[Figure]:
    prior = coefficients()["cpu"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        module_call = _module_call_samples()
        samples = _op_samples(median(module_call))
    finally:
        torch.set_num_threads(threads)
    notes = {"all": f"launch_s of a CPU's spec sheet: {prior['launch_s'].value * 1e6:.2g} us"}
    for phase, times in samples.items():
        yield of_samples(f"host cost of an op, {phase}", [t * 1e6 for t in times], "us", note=notes.get(phase, ""))
    note = f"module_call_s of a CPU's spec sheet: {prior['module_call_s'].value * 1e6:.2g} us"
    yield of_samples("host cost of a module call", [t * 1e6 for t in module_call], "us", note=note)
