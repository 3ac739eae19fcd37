"""Models whose code names a GPU, traced where there is none: a move costs nothing, the layer 2 x 3 x 8 x 8 FLOPs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.estimator.tracing import Calls, forward, meta, named, on_meta, step


def _typed(m, x):
    return m.a(x) + torch.cuda.FloatTensor(8).fill_(0) + torch.cuda.FloatTensor([1.0, 2.0] * 4)


def _within(m, x):
    with torch.device("cuda"):
        return m.a(x) + torch.zeros(8)


def _waits(m, x):
    torch.cuda.synchronize()
    return m.a(x).to(torch.cuda.current_device())


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.a(x.cuda()),
        lambda m, x: m.a(x.cuda(0, non_blocking=True)),
        lambda m, x: m.a(x.to("cuda")),
        lambda m, x: m.a(x.to(0)),
        lambda m, x: m.a(x.to(device="cuda:1", dtype=torch.float32)),
        lambda m, x: m.a(x.to(torch.device("cuda", 0), torch.float32, True)),
        lambda m, x: m.a(x) + torch.zeros(8, device="cuda"),
        lambda m, x: m.a(x) + torch.zeros(8, device=torch.device("cuda:0")),
        lambda m, x: m.a(x) + x.new_zeros(8, device="cuda"),
        lambda m, x: m.a(x) + torch.arange(8, device="mps"),
        lambda m, x: m.a(x) + torch.randn(3, 8).cuda(),
        lambda m, x: m.a(x) + torch.tensor([1.0] * 8, device="cuda"),
        lambda m, x: m.a(x) + torch.ones(8).pin_memory().cuda(),
        lambda m, x: m.a(x) + torch.ones(8, pin_memory=True),
        lambda m, x: m.a(x.type("torch.cuda.FloatTensor")),
        lambda m, x: m.a(x.type(torch.cuda.FloatTensor)),
        lambda m, x: m.cuda().a(x),
        lambda m, x: m.to("cuda").a(x),
        _typed,
        _within,
        _waits,
    ],
)
@pytest.mark.parametrize("reads", [False, True])
def test_code_that_names_a_device_runs(call, reads):
    def both(m, x):
        y = call(m, x)
        return y + 1 if reads and y.sum() > 0 else y

    workload = step(on_meta(lambda: Calls(both, a=nn.Linear(8, 8))), meta(3, 8))
    assert workload.flops_of(phase="forward") == workload.flops_of(phase="backward") == 2 * 3 * 8 * 8


def test_a_move_is_no_op_and_a_cast_is_one():
    net = on_meta(lambda: Calls(lambda m, x: x.cuda().to("cuda:0")))
    assert forward(net, meta(3, 8)).ops == ()
    net = on_meta(lambda: Calls(lambda m, x: x.to("cuda", torch.float16)))
    assert len(named(forward(net, meta(3, 8)), "_to_copy")) == 1


def test_torch_is_left_as_it_was():
    before = torch.cuda.FloatTensor, torch.cuda.synchronize, torch.cuda.current_device
    forward(on_meta(lambda: nn.Linear(8, 8)), meta(3, 8))
    assert before == (torch.cuda.FloatTensor, torch.cuda.synchronize, torch.cuda.current_device)
