"""Scans of transformers as one op: FLOPs are those of torch's `FlopCounterMode` on real tensors, bytes by hand."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from estimator import Scenario, estimate
from estimator.sources import LoadedModel
from estimator.sources.inputs import parse_input
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from tests.estimator.tracing import BYTES, forward, meta, named, step

STEPS, WIDTH = 24, 32
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 2, "vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2}
SCANS = {
    "mamba": ("Mamba", "mamba_selective_scan", {}),
    "falcon_mamba": ("FalconMamba", "mamba_selective_scan", {}),
    "mamba2": ("Mamba2", "mamba2_chunk_scan", {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8}),
    "rwkv": ("Rwkv", "rwkv_linear_attention", {"context_length": 64, "attention_hidden_size": WIDTH}),
}


def _net(name):
    allow_torchvision_without_its_extension()
    transformers = import_module("transformers")
    kind, function, more = SCANS[name]
    if not hasattr(import_module(f"transformers.models.{name}.modeling_{name}"), function):
        pytest.skip("this transformers has its scan inside of a method")
    config = getattr(transformers, f"{kind}Config")(**SIZES, **more)
    cls = getattr(transformers, f"{kind}Model")
    return cls(config), function


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_is_one_op_with_the_products_of_its_loop(name):
    net, function = _net(name)
    ids = torch.zeros(1, STEPS, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(ids)
    served, trained = forward(net, ids.to("meta")), step(net, ids.to("meta"))
    assert served.flops == counter.get_total_flops()
    assert served.fused == trained.fused == (function,)
    assert [len(named(trained, op)) for op in ("scan", "scan_backward")] == [2, 2]  # one a layer
    assert len(served.ops) < 2 * 80  # and not several a step
    assert not (trained.guesses or trained.uncovered_ops)
    assert {op.layer for op in named(trained, "scan_backward")} == {op.layer for op in named(trained, "scan")}


def test_a_scan_reads_its_inputs_and_writes_its_results():
    net, _ = _net("mamba")
    net.config.use_cache = False
    op = named(forward(net, meta(1, STEPS, dtype=torch.long)), "scan")[0]
    inner, state = 2 * WIDTH, 16
    sequences = 3 * STEPS * inner + 2 * STEPS * state  # inputs, time steps and gates; B and C
    assert op.bytes_read == BYTES * (sequences + inner * state + 2 * inner)  # A, D and the bias of the time steps
    assert op.bytes_written == BYTES * STEPS * inner
    assert op.flops == 2 * STEPS * inner * state  # of the states with C


def test_what_is_taken_as_one_kernel_is_told_and_put_back():
    net, function = _net("mamba")
    home = import_module("transformers.models.mamba.modeling_mamba")
    before = getattr(home, function)
    model = LoadedModel(net.to("meta"), "mamba", "test", (parse_input(f"tokens:{STEPS}"),), "given")
    told = {a.name: a.value for a in estimate(model, Scenario(hardware="i9-9900k")).assumptions}
    assert told["fused kernels"] == function
    assert getattr(home, function) is before
