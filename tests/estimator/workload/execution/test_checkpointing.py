"""What runs again under checkpointing, against torch's own counter of the same on real tensors, and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from estimator.base.errors import ScenarioError
from estimator.sources import load
from estimator.workload.execution.checkpointing import blocks_of, checkpointed
from estimator.workload.execution.settings import Autocast, Execution
from estimator.workload.loss import training_loss
from tests.estimator.tracing import Calls, meta, named, on_meta, step

AGAIN = Execution(checkpointing=True)
SDPA = "_scaled_dot_product_fused_attention_overrideable"


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        h = self.enter(x)
        return x + self.out(functional.scaled_dot_product_attention(h, h, h))


def _stack(block):
    return nn.Sequential(nn.Linear(8, 8), nn.Sequential(block(), block(), block()), nn.Linear(8, 4))


class GradientCheckpointingLayer(Block):
    """Named as transformers names what it checkpoints."""


def test_blocks_are_what_libraries_checkpoint():
    # ResNet-50 has 3 + 4 + 6 + 3 bottlenecks in four stages, ConvNeXt-Atto 2 + 2 + 6 + 2 blocks
    resnet50, convnext = (load(f"timm:{name}").module for name in ("resnet50", "convnext_atto"))
    assert [type(block).__name__ for block in blocks_of(resnet50)] == ["Bottleneck"] * 16
    assert [type(block).__name__ for block in blocks_of(convnext)] == ["ConvNeXtBlock"] * 12
    assert len(blocks_of(_stack(Block))) == 3
    marked = nn.Sequential(_stack(Block), GradientCheckpointingLayer())
    assert [type(block) for block in blocks_of(marked)] == [GradientCheckpointingLayer]


def test_flops_are_those_that_torch_counts_where_it_runs_the_same():
    net = _stack(Block)
    with checkpointed(net, wanted=True), FlopCounterMode(display=False) as counter:
        loss = training_loss(net(torch.ones(4, 8)))
        loss.backward()
    assert step(_stack(Block), meta(4, 8), execution=AGAIN).flops == counter.get_total_flops()
    # by hand: of each block the first product runs again, not the last, whose result nothing saves
    plain = step(_stack(Block), meta(4, 8))
    assert counter.get_total_flops() - plain.flops == 3 * 2 * 4 * 8 * 32


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_convnext", "timm:test_resnet"])
def test_the_forward_pass_stays_and_the_backward_pass_grows(name):
    module = load(name).module
    plain, again = (step(module, meta(2, 3, 64, 64), execution=e) for e in (Execution(), AGAIN))
    assert [op.name for op in again.of_phase("forward")] == [op.name for op in plain.of_phase("forward")]
    assert again.of_phase("optimizer") == plain.of_phase("optimizer")
    # the blocks are most of a network: up to one more forward pass, and no more
    more = again.flops - plain.flops
    assert 0.4 * plain.flops_of(phase="forward") < more <= plain.flops_of(phase="forward")
    assert again.bytes_moved > plain.bytes_moved


def test_attention_that_runs_again_is_one_op_again():
    workload = step(_stack(Attending), meta(1, 4, 8), execution=AGAIN)
    assert [op.phase for op in named(workload, SDPA)] == ["forward"] * 3 + ["backward"] * 3


def test_attention_is_fused_where_the_models_own_code_checkpoints():
    net = on_meta(lambda: Calls(lambda m, x: checkpoint(m.a, x, use_reentrant=False), a=Attending()))
    assert [op.phase for op in named(step(net, meta(1, 4, 8)), SDPA)] == ["forward", "backward"]


def test_under_autocast_what_runs_again_is_in_the_lower_dtype():
    both = Execution(Autocast("bfloat16"), checkpointing=True)
    workload = step(_stack(Attending), meta(1, 4, 8), execution=both)
    assert {op.dtype for op in workload.ops if op.kind in ("matmul", "attention")} == {"bfloat16"}


def test_layers_are_told_apart_in_what_runs_again():
    workload = step(_stack(Block), meta(4, 8), execution=AGAIN)
    again = [op.layer for op in workload.of_phase("backward") if op.name == "gelu"]
    assert sorted(again) == ["1.0.mlp.1", "1.1.mlp.1", "1.2.mlp.1"]


def test_a_model_without_blocks_is_refused_and_left_as_it_was():
    with pytest.raises(ScenarioError, match="no repeated blocks"):
        step(on_meta(lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))), meta(4, 8), execution=AGAIN)
    net = _stack(Block)
    step(net, meta(4, 8), execution=AGAIN)
    assert all("forward" not in vars(block) for block in blocks_of(net))
