"""Reading a model without running it: the model stays as it was, and dtypes, modes and layouts are as in a real run."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.nn.modules import module as module_globals
from torch.utils._python_dispatch import TorchDispatchMode

from estimator.base.errors import InputError
from estimator.workload.memory.peak import DEVICE, peak
from estimator.workload.recorder import layout_of
from estimator.workload.trace import TraceInputs, trace
from tests.estimator.tracing import Calls, forward, meta, on_meta, step
from tests.estimator.workload.residual_net import Block, Net

# ---- the module stays as it was


def _state(module):
    return (
        {m: (m.training, dict(m.__dict__), list(m._forward_hooks)) for m in module.modules()},
        {n: (id(p), p.device, p.requires_grad, p.grad) for n, p in module.named_parameters()},
        {n: (id(b), b.device) for n, b in module.named_buffers()},
    )


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_module_is_left_as_it_was(device):
    with torch.device(device):
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(4 * 36, 2))
    net.train()
    net[1].eval()  # one part in another mode than the rest
    net[0].weight.requires_grad_(False)
    before, values = _state(net), copy.deepcopy(net.state_dict())
    forward(net, meta(5, 3, 8, 8))
    step(net, meta(5, 3, 8, 8), optimizer="adam", freeze=("1",))
    assert _state(net) == before
    assert [m.training for m in net] == [True, False, True, True, True]
    if device == "cpu":
        assert all(torch.equal(value, values[name]) for name, value in net.state_dict().items())


def test_module_is_left_as_it_was_after_an_error():
    net = on_meta(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 4)))
    net[1].eval()
    before, fastpath = _state(net), torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(InputError):
        step(net, meta(5, 4))
    assert _state(net) == before
    assert torch.backends.mha.get_fastpath_enabled() == fastpath
    assert torch.is_grad_enabled() is not False  # the caller's own setting


def test_global_hooks_are_removed_even_after_errors():
    def fails(_, x):
        raise KeyboardInterrupt

    forward(on_meta(Net), meta(5, 4))
    with pytest.raises(InputError):
        forward(on_meta(lambda: nn.Linear(4, 4)), meta(5, 3))
    with pytest.raises(KeyboardInterrupt):
        forward(Calls(fails), meta(5, 3))
    assert not module_globals._global_forward_hooks
    assert not module_globals._global_forward_pre_hooks
    assert (torch.ones(2) + 1).sum() == 4  # no mode is left behind


def test_real_modules_are_traced_without_computing_or_allocating():
    # 40 GB of activations for a module of real weights: nothing of it may be allocated
    net = nn.Sequential(nn.Linear(100, 1000), nn.ReLU(), nn.Linear(1000, 10))
    workload = step(net, torch.empty(10_000_000, 100, device="meta"))
    assert workload.flops_of(phase="forward") == 2 * 10_000_000 * (100 * 1000 + 1000 * 10)
    assert all(p.grad is None and p.device.type == "cpu" for p in net.parameters())


def facts(workload):
    """All that a workload says: two of them are told apart by identity."""
    return [getattr(workload, field.name) for field in fields(workload) if field.name != "allocations"], peak(
        workload.allocations, DEVICE
    )


def test_two_traces_are_equal():
    for build, x in ((Net, meta(5, 4)), (lambda: nn.LSTM(4, 4), meta(5, 2, 4))):
        net = on_meta(build)
        assert facts(step(net, x, optimizer="adamw")) == facts(step(net, x, optimizer="adamw"))
        assert facts(forward(net, x)) == facts(forward(net, x))
        assert facts(step(net, x, optimizer="adamw")) == facts(step(on_meta(build), x, optimizer="adamw"))


def test_repeated_ops_cost_what_each_costs_alone():
    # calls of equal shapes are counted once and told again: a deep net is one layer after the other
    layer, deep = on_meta(Block), on_meta(lambda: nn.Sequential(*(Block() for _ in range(5))))
    assert forward(deep, meta(3, 4)).flops == 5 * forward(layer, meta(3, 4)).flops
    assert forward(deep, meta(3, 4)).bytes_moved == 5 * forward(layer, meta(3, 4)).bytes_moved
    assert len(forward(deep, meta(3, 4)).ops) == 5 * len(forward(layer, meta(3, 4)).ops)


def test_equal_shapes_with_other_strides_or_types_are_told_apart():
    def run(_, x):
        y = x.t() + 1.0, x + 1.0, x.expand(4, 4) + 1, x.half() + 1.0, x[:1].expand(4, 4) + 1.0
        return [t.stride() for t in y]

    adds = [op for op in forward(Calls(run), meta(4, 4)).ops if op.name == "add"]
    assert [op.bytes_read for op in adds] == [64, 64, 64, 32, 16]
    assert [op.dtype for op in adds] == ["float32"] * 3 + ["float16", "float32"]


# ---- dtypes


def test_bfloat16_halves_the_bytes_of_floats_exactly():
    net, x = on_meta(Net), meta(6, 4)
    wide = step(net, x, optimizer="adam")
    narrow = step(net, x.to(torch.bfloat16), optimizer="adam", dtype="bfloat16")
    assert [op.flops for op in narrow.ops] == [op.flops for op in wide.ops]
    floats = [(a, b) for a, b in zip(wide.ops, narrow.ops, strict=True) if not a.name.startswith(("nll", "zeros"))]
    # class indices stay 8 bytes, and the statistics of a norm stay in float32
    exact = [(a, b) for a, b in floats if a.kind != "norm"]
    assert [a.bytes_moved for a, _ in exact] == [2 * b.bytes_moved for _, b in exact]
    assert all(a.bytes_moved > b.bytes_moved for a, b in floats)
    assert {b.dtype for _, b in floats} == {"bfloat16"}


def test_integer_inputs_and_buffers_keep_their_type():
    net = on_meta(lambda: nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 2)))
    net[1].register_buffer("steps", torch.zeros(3, dtype=torch.long))
    (op,) = (op for op in forward(net, meta(3, 7, dtype=torch.long), dtype="float16").ops if op.name == "embedding")
    assert op.bytes_read == 21 * 8 + 21 * 8 * 2
    assert op.dtype == "float16"


# ---- modes


def test_batch_norm_and_dropout_know_training_from_inference():
    net = on_meta(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5)))
    x = meta(2, 3, 8, 8)
    evaluated, trained = forward(net, x), step(net, x)
    assert [op.name for op in evaluated.ops if op.layer == "2"] == []  # dropout does nothing
    assert [op.name for op in trained.ops if op.layer == "2"] == ["native_dropout", "native_dropout_backward"]
    # eval reads x and four vectors, writes y and two vectors; training also counts its batches
    norm = [op for op in evaluated.ops if op.layer == "1"]
    assert [(op.bytes_read, op.bytes_written) for op in norm] == [(4 * (512 + 4 * 4), 4 * (512 + 2 * 4))]
    assert len([op for op in trained.of_phase("forward") if op.layer == "1"]) == 2  # the counter, then the norm
    assert any(op.kind == "norm" and op.layer == "1" for op in trained.of_phase("backward"))


def test_inference_has_no_backward_and_no_optimizer():
    workload = forward(on_meta(Net), meta(5, 4))
    assert {op.phase for op in workload.ops} == {"forward"}
    assert workload.flops == 2 * 5 * (3 * 4 * 4 + 4 * 3)


class _Dispatched(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name.removeprefix("aten::"))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_products_of_transposed_inputs_are_those_of_a_real_run(trained, bias):
    # PyTorch folds the batch into the rows only where the weight asks for a gradient
    layer = nn.Linear(16, 32, bias=bias).requires_grad_(trained)
    real, x = _Dispatched(), torch.zeros(2, 16, 9).transpose(1, 2)
    with torch.no_grad(), real:
        layer(x)
    names = [op.name for op in trace(layer, TraceInputs((x.to("meta"),), {}, 2)).ops]
    assert ("bmm" in names, "mm" in names) == ("bmm" in real.names, "mm" in real.names) == (not trained, trained)


class _Pictures(nn.Module):
    """Convolutions, norms and pooling on either layout, and a norm over channels, which turns one into the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.batch, self.act = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU()
        self.deep, self.norm, self.point = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8), nn.Conv2d(8, 16, 1)
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)

    def forward(self, x):
        x = self.act(self.batch(self.stem(x)))
        x = x + self.norm(self.deep(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.up(self.pool(self.point(x))).mean((2, 3))


def _picture_layouts(module: nn.Module, x: torch.Tensor) -> list[tuple[str, str]]:
    """Of a real training step: every op on pictures, and how they lie in memory: a convolution's input and weight."""
    seen = list[tuple[str, str]]()
    operands = {"convolution": slice(0, 2), "convolution_backward": slice(1, 3)}

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func._schema.name.removeprefix("aten::")
            pictures = [a for a in args[operands.get(name, slice(0, 1))] if isinstance(a, torch.Tensor)]
            if pictures and pictures[0].dim() == 4:
                layouts = [layout_of(picture) for picture in pictures]
                seen.append((name, "channels_last" if "channels_last" in layouts else layouts[0]))
            return func(*args, **(kwargs or {}))

    with Watching():
        module(x).sum().backward()
    return seen


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("where", ["input", "weights"])
def test_pictures_lie_in_memory_as_in_a_real_run(layout, where):
    module, x = _Pictures(), torch.zeros(2, 3, 16, 16)
    if where == "input":
        x = x.contiguous(memory_format=layout)
    else:
        module = module.to(memory_format=layout)
    known = {"convolution", "convolution_backward", "native_batch_norm", "native_layer_norm", "silu"}
    real = Counter(one for one in _picture_layouts(module, x) if one[0] in known)
    ops = trace(module, TraceInputs((x.to("meta"),), {}, 2), optimizer="sgd").ops
    traced = Counter((op.name, op.layout) for op in ops if op.name in known)
    assert traced == real
    assert ("convolution", "channels_last") in traced or layout == torch.contiguous_format


def test_counts_are_linear_in_the_batch():
    net = on_meta(Net)
    small, large = (trace(net, TraceInputs((meta(n, 4),), {}, n), optimizer="sgd") for n in (2, 20))
    assert small.flops_per_sample == large.flops_per_sample
    assert small.bytes_per_sample > large.bytes_per_sample  # weights are read once a batch
