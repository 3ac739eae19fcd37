"""Where traced ops are attributed: to layers, and to parameters, which may be tied or frozen.

Reference values are hand arithmetic and the freeze table of shared/tracing.md.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from estimator.base.errors import ScenarioError
from estimator.sources import load
from estimator.workload.execution.trained import trainable_parameters
from tests.estimator.tracing import Calls, forward, meta, named, on_meta, one, step
from tests.estimator.workload.residual_net import Net

# ---- layers


def test_forward_and_backward_ops_belong_to_the_module_that_called_them():
    workload = step(on_meta(Net), meta(5, 4))
    placed = {phase: Counter(op.layer for op in workload.ops if op.phase == phase and op.kind == "matmul")
              for phase in ("forward", "backward")}  # fmt: skip
    linears = {"stem", "blocks.0.linear", "blocks.1.linear", "head"}
    assert placed["forward"] == dict.fromkeys(linears, 1)
    assert placed["backward"] == {**dict.fromkeys(linears, 2), "stem": 1}  # the input needs no gradient
    assert {(op.layer, op.phase) for op in workload.ops if op.kind == "norm"} == {
        (f"blocks.{i}.norm", phase) for i in (0, 1) for phase in ("forward", "backward")
    }
    assert {op.layer_type for op in workload.ops if op.layer == "blocks.0.linear"} == {"Linear"}


def test_residual_sums_belong_to_their_block():
    workload = step(on_meta(Net), meta(5, 4))
    sums = [op for op in workload.of_phase("forward") if op.name == "add"]
    assert [(op.layer, op.layer_type) for op in sums] == [("blocks.0", "Block"), ("blocks.1", "Block")]
    gradient_sums = [op for op in workload.of_phase("backward") if op.name == "add"]
    assert len(gradient_sums) == 2  # where the two ways through a block meet again
    assert all(op.layer.startswith("blocks.") for op in gradient_sums)


def test_functional_ops_of_the_model_itself_belong_to_it():
    workload = step(on_meta(lambda: Calls(lambda m, x: functional.relu(m.a(x)), a=nn.Linear(4, 4))), meta(5, 4))
    assert one(workload, "relu").layer == ""
    assert one(workload, "relu").layer_type == "Calls"
    assert one(workload, "threshold_backward").layer == ""


def test_loss_is_a_layer_of_its_own():
    workload = step(on_meta(Net), meta(5, 4))
    assert one(workload, "_log_softmax").layer_type == "loss"
    assert one(workload, "_log_softmax_backward_data").layer_type == "loss"


def test_layer_used_twice_keeps_its_name():
    net = on_meta(lambda: Calls(lambda m, x: m.a(m.a(x)), a=nn.Linear(4, 4)))
    workload = step(net, meta(5, 4))
    assert [op.layer for op in named(workload, "addmm")] == ["a", "a"]
    assert {op.layer for op in named(workload, "mm")} == {"a"}


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layer_is_computed_again_in_the_backward_pass(reentrant):
    def run(m, x):
        return m.head(checkpoint(m.body, m.stem(x), use_reentrant=reentrant))

    parts = {"stem": nn.Linear(4, 4), "body": nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))}
    net = on_meta(lambda: Calls(run, **parts, head=nn.Linear(4, 2)).to("meta"))
    layers = Counter(op.layer for op in step(net, meta(5, 4)).of_phase("backward") if op.kind == "matmul")
    # by hand: two gradients each; recomputed are both layers, or the first alone where torch stops early
    assert layers["body.0"] == 3
    assert layers["body.2"] in (2, 3)
    assert layers["head"] == 2
    assert layers["stem"] == 1


def test_module_calls():
    assert forward(on_meta(Net), meta(5, 4)).module_calls == 1 + 1 + 2 * 3 + 1  # net, stem, blocks with two each, head


# ---- parameters


def _tied() -> nn.Module:
    net = Calls(lambda m, i: m.out(m.embed(i)), embed=nn.Embedding(50, 8), out=nn.Linear(8, 50, bias=False))
    net.out.weight = net.embed.weight
    return net


def test_tied_weights_are_one_parameter():
    net = on_meta(_tied)
    workload = step(net, meta(3, 7, dtype=torch.long), optimizer="adam")
    (op,) = workload.of_phase("optimizer")
    assert op.inputs == ((50, 8),)
    assert trainable_parameters(net) == {"embed.weight", "out.weight"}


@pytest.mark.parametrize("name", ["embed", "out"])
def test_tied_weight_frozen_under_either_name_is_frozen(name):
    net = on_meta(_tied)
    net.more = nn.Linear(50, 2, device="meta")
    net.function = lambda m, i: m.more(m.out(m.embed(i)))
    assert trainable_parameters(net, (name,)) == {"more.weight", "more.bias"}
    workload = step(net, meta(3, 7, dtype=torch.long), freeze=(name,))
    assert {op.layer for op in workload.of_phase("optimizer")} == {"more"}


@pytest.fixture(scope="module")
def resnet50():
    return load("timm:resnet50").module


@pytest.mark.parametrize(
    ("freeze", "ratio"),
    [  # shared/tracing.md: full, layer4 and head, head alone
        ((), 1.97),
        (("conv1", "bn1", "layer[123]"), 0.35),
        (("conv1", "bn1", "layer*"), 0.0005),
    ],
)
def test_frozen_layers_cost_no_backward(resnet50, freeze, ratio):
    workload = step(resnet50, meta(2, 3, 224, 224), freeze=freeze)
    backward = workload.flops_of(phase="backward") / workload.flops_of(phase="forward")
    assert backward == pytest.approx(ratio, rel=0.02)


def test_head_alone_by_hand(resnet50):
    # only the weight's gradient of 2048 x 1000, of 4.09 G multiply-accumulates
    workload = step(resnet50, meta(2, 3, 224, 224), freeze=("conv1", "bn1", "layer*"))
    assert workload.flops_of(phase="backward") == 2 * 2 * 2048 * 1000
    assert {op.layer for op in workload.of_phase("optimizer")} == {"fc"}


def test_freeze_errors_name_the_flag():
    net = on_meta(Net)
    with pytest.raises(ScenarioError, match=r"--freeze 'nothing' matches no parameter.*stem, blocks, head"):
        trainable_parameters(net, ("nothing",))
    with pytest.raises(ScenarioError, match="--freeze leaves nothing"):
        trainable_parameters(net, ("*",))
    assert trainable_parameters(net, ("blocks.*.linear", "*.bias")) == {
        "stem.weight", "head.weight", "blocks.0.norm.weight", "blocks.1.norm.weight"
    }  # fmt: skip


def test_parameters_frozen_in_the_model_itself_are_not_trained():
    net = on_meta(Net)
    net.stem.requires_grad_(False)
    net.blocks.requires_grad_(False)
    workload = step(net, meta(5, 4))
    assert workload.flops_of(phase="backward") == 2 * 5 * 4 * 3  # the head's weight gradient
    assert {op.layer for op in workload.of_phase("optimizer")} == {"head"}


def test_model_without_a_gradient_says_so():
    net = on_meta(lambda: Calls(lambda m, x: m.a(x).detach(), a=nn.Linear(4, 4)))
    workload = step(net, meta(5, 4))
    assert not workload.of_phase("backward")
    assert any("no backward pass" in guess for guess in workload.guesses)
    assert not step(on_meta(nn.ReLU), meta(5, 4)).guesses  # nothing to train, nothing to say
