"""Complex tensors and reentrant checkpoints: counts by hand."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.estimator.tracing import Calls, forward, meta, on_meta, step


def test_a_complex_product_is_four_real_ones():
    net = on_meta(lambda: nn.Linear(8, 3, bias=False, dtype=torch.complex64))
    x = meta(5, 8, dtype=torch.complex64)
    assert forward(net, x).flops == 4 * 2 * 5 * 8 * 3
    trained = step(net, x)
    assert trained.flops_of(phase="backward") == 4 * 2 * 5 * 8 * 3  # the weight's gradient; the input needs none
    assert trained.guesses == ()


def test_reentrant_checkpoints_leave_no_gradient_behind():
    net = Calls(lambda m, x: checkpoint(m.b, m.a(x), use_reentrant=True), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    first = step(net, meta(5, 4))
    assert all(p.grad is None for p in net.parameters())
    assert step(net, meta(5, 4)) == first
    # forward a and b, b again, then the gradients of b's weight, b's input and a's weight
    assert first.flops_of(phase="forward") == 2 * (2 * 5 * 4 * 4)
    assert first.flops_of(phase="backward") == 4 * (2 * 5 * 4 * 4)
