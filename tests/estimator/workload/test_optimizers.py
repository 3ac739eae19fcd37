"""The optimizer's step, against the real optimizers of torch, watched op by op while they take a step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from estimator.lifecycle.scenario import OPTIMIZER_NAMES
from estimator.workload.optimizers import OPTIMIZERS
from tests.estimator.tracing import meta, on_meta, step

SIZE = 1000
# FLOPs of one element, by hand: an add, multiply, divide or square root each (`add_` scales its tensor by a factor)
FLOPS = {"add_": 2, "mul_": 1, "lerp_": 3, "addcmul_": 3, "sqrt": 1, "div": 1, "addcdiv_": 3}
REAL = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, foreach=False),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=False),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, foreach=False),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, foreach=False),
}


class Watch(TorchDispatchMode):
    """Counts whole tensors read and written, and kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.reads = self.writes = self.launches = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        whole = {id(a) for a in args if isinstance(a, Tensor) and a.numel() == SIZE}
        if whole and func._overloadpacket.__name__ != "detach":
            self.reads += len(whole)
            self.writes += 1
            self.launches += 1
            name = func._overloadpacket.__name__
            self.flops += FLOPS[name] if len(whole) > 1 or name != "add_" else 1  # adam adds a number, epsilon
        return out


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_step_is_that_of_torchs_optimizer(name):
    parameter = nn.Parameter(torch.ones(SIZE))
    optimizer = REAL[name]([parameter])
    parameter.grad = torch.ones(SIZE)
    optimizer.step()  # makes the state
    with Watch() as seen:
        optimizer.step()
    expected = OPTIMIZERS[name]
    assert (seen.reads, seen.writes, seen.launches) == (expected.reads, expected.writes, expected.launches)
    assert seen.flops == expected.flops
    states = [t for t in optimizer.state[parameter].values() if isinstance(t, Tensor) and t.numel() == SIZE]
    assert len(states) == expected.states


def test_ops_by_hand():
    net = on_meta(lambda: nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 5, bias=False)))
    workload = step(net, meta(8, 20), optimizer="adam")
    ops = {(op.layer, op.inputs[0]): op for op in workload.of_phase("optimizer")}
    assert set(ops) == {("0", (30, 20)), ("0", (30,)), ("1", (5, 30))}
    op = ops["0", (30, 20)]
    assert (op.bytes_read, op.bytes_written) == (11 * 600 * 4, 7 * 600 * 4)
    assert (op.kind, op.name, op.layer_type, op.launches) == ("optimizer", "adam", "Linear", 7)


def test_state_is_kept_in_the_training_dtype():
    net = on_meta(lambda: nn.Linear(20, 30))
    wide = step(net, meta(8, 20), optimizer="adam").of_phase("optimizer")
    narrow = step(net, meta(8, 20, dtype=torch.bfloat16), optimizer="adam", dtype="bfloat16").of_phase("optimizer")
    assert [op.bytes_moved for op in wide] == [2 * op.bytes_moved for op in narrow]
    assert {op.dtype for op in narrow} == {"bfloat16"}


def test_parameters_made_outside_of_layers_are_trained_too():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(meta(4))
            self.steps = nn.ParameterList([nn.Parameter(meta(4)) for _ in range(2)])

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale + self.steps[0] * self.steps[1]

    layers = [op.layer for op in step(Scaled(), meta(3, 4)).of_phase("optimizer")]
    assert layers == ["", "steps", "steps"]
