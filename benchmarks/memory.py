"""`python -m benchmarks.memory`: our peak bytes beside those that torch measures, of inference and of training steps.

Two tables: `torch.distributed._tools.mem_tracker.MemTracker` on fake tensors, and the allocations of real runs on this
CPU (`torch.profiler` with `profile_memory`). A step is the second one, so that the optimizer's states exist. "before"
is what `estimate` checked until it knew lifetimes: weights, gradients and optimizer states.
"""

from __future__ import annotations

import argparse
import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.profiler import ProfilerActivity, profile

from benchmarks.networks import SMALL, TRACKED, Network, filled, without_dropout
from estimator.workload.loss import training_loss
from estimator.workload.memory.peak import HOST, peak
from estimator.workload.trace import TraceInputs, trace

BAR = 0.10
"""Mean error that each table must stay below."""

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1),
}
MODES = (None, "sgd", "adam")
"""Inference, and training with each of two optimizers."""


@dataclass(frozen=True)
class Row:
    """Peak bytes of one network in one mode: measured, as predicted, and as the coarse check had it."""

    name: str
    mode: str
    measured: int
    predicted: int
    before: int

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted / self.measured - 1

    @property
    def error_before(self) -> float:
        """The same of the coarse check."""
        return self.before / self.measured - 1


def predicted(network: Network, optimizer: str | None) -> tuple[int, int]:
    """Our peak bytes on a CPU, and what weights, gradients and states are alone."""
    module = without_dropout(network.build())
    with torch.device("meta"):
        batch = network.batch()
    workload = trace(module, TraceInputs((batch,), {}, len(batch)), optimizer=optimizer)
    if workload.allocations is None:
        raise AssertionError("a traced workload tells what it allocates")
    found = peak(workload.allocations, HOST)
    return found.total, found.weights + found.optimizer_states + int(workload.allocations.trained.sum())


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Without the kernel that takes a whole layer of `nn.TransformerEncoder` in inference, as it is traced."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Run:
    """A network that can take steps: training, or inference where there is no optimizer."""

    def __init__(self, network: Network, module: nn.Module, optimizer: str | None) -> None:
        self.network, self.training = network, optimizer is not None
        self.module = filled(module).train(self.training)
        self.optimizer = _OPTIMIZERS[optimizer or "sgd"](self.module.parameters())

    def step(self) -> None:
        """One batch."""
        if not self.training:
            with torch.no_grad(), _plain_attention():
                self.module(self.network.batch())
            return
        self.optimizer.zero_grad()
        output = self.module(self.network.batch())
        loss = training_loss(output)
        assert loss is not None, "every network here has an output to learn from"
        loss.backward()
        self.optimizer.step()

    def kept_bytes(self) -> int:
        """Bytes of weights and states."""
        states = (value for of_one in self.optimizer.state.values() for value in of_one.values())
        tensors = [*self.module.parameters(), *self.module.buffers(), *filter(torch.is_tensor, states)]
        return sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors}.values())


def tracked(network: Network, optimizer: str | None) -> int:
    """The peak of two steps by MemTracker, on fake tensors."""
    module = network.build()
    with FakeTensorMode():
        run = _Run(network, module, optimizer)
        tracker = MemTracker()
        tracker.track_external(run.module, run.optimizer)
        with tracker:
            for _ in range(2):
                run.step()
                tracker.reset_mod_stats()
        snapshot: dict[Any, dict[Any, int]] = tracker.get_tracker_snapshot("peak")
    return sum(nbytes for of_device in snapshot.values() for kind, nbytes in of_device.items() if str(kind) == "Total")


def profiled(network: Network, optimizer: str | None) -> int:
    """The peak of a real second step on this CPU: what was there before, and the most that was allocated since."""
    run = _Run(network, network.build(), optimizer)
    run.step()
    run.optimizer.zero_grad()
    before = run.kept_bytes()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run.step()
    held = most = 0
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return before + most


def rows(networks: tuple[Network, ...], measure: Callable[[Network, str | None], int]) -> Iterator[Row]:
    """Every network in every mode, as `measure` finds it and as we predict it."""
    for network in networks:
        for mode in MODES:
            ours, before = predicted(network, mode)
            yield Row(network.name, mode or "inference", measure(network, mode), ours, before)


def table(title: str, found: Iterator[Row]) -> bool:
    """Print the rows as they come, and their mean error; whether it stays below the bar."""
    print(f"\n{title}\n{'network':32} {'mode':10} {'measured':>12} {'predicted':>12} {'error':>8} {'before':>8}")
    errors, before = [], []
    for row in found:
        errors.append(abs(row.error))
        before.append(abs(row.error_before))
        numbers = f"{row.measured / 1e6:9,.1f} MB {row.predicted / 1e6:9,.1f} MB {row.error:+8.1%}"
        print(f"{row.name:32} {row.mode:10} {numbers} {row.error_before:+8.1%}", flush=True)
    print(f"mean error {fmean(errors):.1%} (bar {BAR:.0%}); before {fmean(before):.1%}")
    return fmean(errors) < BAR


def main() -> None:
    """Print both tables; exit with 1 where a mean error is over the bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--only", choices=("fake", "real"), help="one of the tables")
    parser.add_argument("--first", type=int, default=None, metavar="N", help="the first N networks of each table")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    tables = {
        "fake": ("MemTracker on fake tensors", rows(TRACKED[: given.first], tracked)),
        "real": ("real runs on this CPU, torch.profiler", rows(SMALL[: given.first], profiled)),
    }
    met = [table(*tables[name]) for name in tables if given.only in (None, name)]
    raise SystemExit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
