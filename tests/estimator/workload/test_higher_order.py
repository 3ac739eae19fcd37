"""`flex_attention` and `torch.cond`, traced without a compiler; passes inside passes. FLOPs are hand arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._higher_order_ops import cond as condition
from torch.nn.attention import flex_attention as flex_module
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from tests.estimator.tracing import Calls, forward, meta, on_meta, one, step

LENGTH, WIDTH, HEADS = 128, 64, 4
LINEAR = 2 * LENGTH * WIDTH * (3 * WIDTH + WIDTH)
SCORES = 4 * LENGTH * LENGTH * WIDTH
"""Of QK^T and PV over all heads; a causal mask counts in full, as published tables count it."""


def _heads(m, x):
    batch, length, width = x.shape
    return m.qkv(x).view(batch, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)


def _attend(**options):
    def call(m, x):
        y = flex_attention(*_heads(m, x), **options)
        return m.out(y.transpose(1, 2).reshape(x.shape))

    return on_meta(lambda: Calls(call, qkv=nn.Linear(WIDTH, 3 * WIDTH), out=nn.Linear(WIDTH, WIDTH)))


def _causal(b, h, i, j):
    return i >= j


def test_flex_attention_is_fused_attention():
    workload = step(_attend(), meta(1, LENGTH, WIDTH))
    assert workload.flops_of(phase="forward") == LINEAR + SCORES == 8_388_608
    # five products of attention for two (FlashAttention); of the first layer the weight's gradient alone
    linear = 2 * LENGTH * WIDTH * (3 * WIDTH + 2 * WIDTH)
    assert workload.flops_of(phase="backward") == linear + SCORES * 5 // 2
    assert not (workload.uncovered_ops or workload.guesses)


@pytest.mark.parametrize(("length", "flops"), [(LENGTH, 8_388_608), (2 * LENGTH, 25_165_824)])
def test_flex_attention_with_a_block_mask(length, flops):
    def call(m, x):
        mask = create_block_mask(_causal, None, None, length, length, device=x.device)
        return m.out(flex_attention(*_heads(m, x), block_mask=mask).transpose(1, 2).reshape(x.shape))

    net = on_meta(lambda: Calls(call, qkv=nn.Linear(WIDTH, 3 * WIDTH), out=nn.Linear(WIDTH, WIDTH)))
    # twice as long is twice the projections and four times the scores: 2 x 4,194,304 + 4 x 4,194,304
    times = length // LENGTH
    assert forward(net, meta(1, length, WIDTH)).flops == times * LINEAR + times**2 * SCORES == flops


@pytest.mark.parametrize("options", [{"score_mod": lambda score, b, h, i, j: score + i - j}, {"scale": 2.0}])
def test_what_changes_scores_changes_no_product(options):
    assert forward(_attend(**options), meta(1, LENGTH, WIDTH)).flops == LINEAR + SCORES


def test_grouped_queries_and_statistics():
    def call(_, q, k, v):
        out, lse = flex_attention(q, k, v, enable_gqa=True, return_lse=True)
        return out + lse[..., None]

    q, kv = meta(2, 8, 16, 32), meta(2, 2, 16, 32)
    assert one(forward(Calls(call), q, kv, kv), "_scaled_dot_product_fused_attention_overrideable").flops == (
        4 * 2 * 8 * 16 * 16 * 32
    )


def test_torchs_functions_are_left_as_they_were():
    before = flex_module.flex_attention_hop, flex_module._validate_device, torch.cond.__globals__["cond_op"]
    forward(_attend(), meta(1, LENGTH, WIDTH))
    assert (flex_module.flex_attention_hop, flex_module._validate_device, torch.cond.__globals__["cond_op"]) == before


# ---- conditions


def _branches(asked):
    def call(m, x):
        return asked(x.sum() > 0, m.a, lambda t: m.c(m.b(t)), (x,))

    return on_meta(lambda: Calls(call, a=nn.Linear(16, 16), b=nn.Linear(16, 64), c=nn.Linear(64, 16)))


@pytest.mark.parametrize("asked", [torch.cond, condition])
def test_the_dearer_branch_of_cond_is_taken(asked):
    workload = step(_branches(asked), meta(2, 16))
    assert workload.flops_of(phase="forward") == 2 * 2 * 16 * (64 + 64)
    assert workload.flops_of(phase="backward") == 2 * 2 * 16 * (64 + 2 * 64)
    assert workload.guesses == ("a condition in the model: False (the dearer way: an upper bound)",)
    assert workload.bound == "at most"


def test_a_condition_that_is_known_is_no_guess():
    def call(m, x):
        return torch.cond(torch.ones((), dtype=torch.bool).all(), m.a, m.b, (x,))

    net = on_meta(lambda: Calls(call, a=nn.Linear(16, 16), b=nn.Linear(16, 64)))
    workload = forward(net, meta(2, 16))
    assert (workload.flops, workload.bound) == (2 * 2 * 16 * 16, "exact")


# ---- gradients inside forward, and forward inside the backward pass: as torch's own counter counts real tensors


def _forces(m, x):
    x = x.detach().requires_grad_()
    energy = torch.tanh(x @ m.a) @ m.b
    return {"energy": energy, "forces": -torch.autograd.grad(energy.sum(), x, create_graph=True)[0]}


def _matrices():
    return Calls(_forces, a=nn.Parameter(torch.zeros(16, 32)), b=nn.Parameter(torch.zeros(32, 1)))


def _counted(run):
    with FlopCounterMode(display=False) as counter:
        result = run()
    return counter.get_total_flops(), result


def test_gradients_inside_forward_are_its_own():
    # forward 2 products, and each again for the gradient of its input: 4 x 16 x 32 and 4 x 32 FLOPs a sample
    net, flops = _matrices(), 2 * 2 * 2 * (16 * 32 + 32)
    real, out = _counted(lambda: _forces(net, torch.zeros(2, 16)))
    served = forward(net, meta(2, 16))
    assert served.flops == served.flops_of(phase="forward") == real == flops
    backward, _ = _counted((out["energy"].sum() + out["forces"].square().sum()).backward)
    trained = step(net, meta(2, 16))
    assert trained.flops_of(phase="forward") == flops
    assert trained.flops_of(phase="backward") == backward > 0


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_layers_run_forward_again(reentrant):
    def call(m, x):
        return m.head(checkpoint(m.body, m.stem(x), use_reentrant=reentrant))

    body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
    net = Calls(call, stem=nn.Linear(16, 16), body=body, head=nn.Linear(16, 4))
    forward_flops = 2 * 2 * (16 * 16 + 2 * 16 * 32 + 16 * 4)
    once = 2 * 2 * (16 * 16 + 2 * 2 * 16 * 32 + 2 * 16 * 4)
    # the whole body again, or, where only what is saved is computed anew, all but its last layer
    again = 2 * 2 * 16 * 32 * (2 if reentrant else 1)
    workload = step(net, meta(2, 16))
    assert workload.flops_of(phase="forward") == forward_flops
    assert workload.flops_of(phase="backward") == once + again
    real, _ = _counted(lambda: net(torch.zeros(2, 16)).sum().backward())
    assert workload.flops == real
