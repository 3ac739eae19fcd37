"""Experts: grouped products in every dtype. Expected FLOPs are hand arithmetic, shapes those of real tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from tests.estimator.tracing import Calls, forward, meta, on_meta, one, step

pytestmark = pytest.mark.skipif(not hasattr(functional, "grouped_mm"), reason="this torch has no grouped_mm")

TOKENS, WIDTH, HIDDEN, EXPERTS, TAKEN, VOCABULARY = 16, 32, 64, 8, 2, 100


def _mixtral():
    allow_torchvision_without_its_extension()
    import transformers

    config = transformers.MixtralConfig(
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=EXPERTS,
        num_experts_per_tok=TAKEN,
        vocab_size=VOCABULARY,
        use_cache=False,
    )
    return on_meta(lambda: transformers.MixtralForCausalLM._from_config(config, attn_implementation="sdpa"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_mixture_is_its_dense_part_and_the_experts_that_a_token_takes(dtype):
    net, ids = _mixtral(), meta(1, TOKENS, dtype=torch.long)
    attention = 2 * (2 * WIDTH * WIDTH + 2 * WIDTH * WIDTH // 2) + 4 * TOKENS * WIDTH  # q, o; k, v of half the heads
    dense = TOKENS * (attention + 2 * WIDTH * EXPERTS + 2 * WIDTH * VOCABULARY)
    experts = TOKENS * TAKEN * 3 * 2 * WIDTH * HIDDEN  # gate, up and down
    served = forward(net, ids, dtype=dtype)
    assert served.flops == dense + experts
    assert not (served.uncovered_ops or served.guesses)
    trained = step(net, ids, dtype=dtype)
    products = [op for op in trained.ops if op.name == "_grouped_mm"]
    assert sum(op.flops for op in products if op.phase == "backward") == 2 * experts  # of its input and of its weight


def test_only_experts_that_are_hit_are_read():
    def call(m, x):
        return functional.grouped_mm(x, m.w, offs=torch.ones(64, dtype=torch.int32, device=x.device))

    net = Calls(call, w=nn.Parameter(meta(64, 16, 8)))
    op = one(forward(net, meta(4, 16)), "_grouped_mm")  # 4 rows hit no more than 4 of 64 experts
    assert op.bytes_read == 4 * (4 * 16 + 4 * 16 * 8)
    assert op.flops == 2 * 4 * 16 * 8


@pytest.mark.parametrize(
    ("a", "b", "offsets"),
    [
        ((24, 8), (2, 8, 16), (8, 24)),
        ((2, 24, 8), (8, 16), (8, 16)),
        ((2, 24, 8), (2, 8, 16), None),
        ((16, 24), (24, 8), (8, 24)),
    ],
)
def test_shapes_are_those_of_real_tensors(a, b, offsets):
    def call(_, x, y):
        offs = None if offsets is None else torch.tensor(offsets, dtype=torch.int32, device=x.device)
        return functional.grouped_mm(x, y, offs=offs)

    real = call(None, torch.zeros(a, dtype=torch.bfloat16), torch.zeros(b, dtype=torch.bfloat16))
    (shape,) = one(forward(Calls(call), meta(*a), meta(*b)), "_grouped_mm").outputs
    assert shape in (tuple(real.shape), tuple(real.mT.shape))  # rows of the second are columns of the first
