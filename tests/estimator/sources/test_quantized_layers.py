"""Layers that a library quantized: FLOPs, parameters and bytes of weights by hand arithmetic."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

from estimator import Scenario, estimate
from estimator.base.errors import ModelFileError
from estimator.footprint import as_loaded, model_facts
from estimator.sources import load
from estimator.workload.kernels.stored_weights import spared_bytes
from estimator.workload.trace import TraceInputs, trace

FACTORY = """
import torch
from torch import nn
def net():
    layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8, bias=False))
    return torch.ao.quantization.quantize_dynamic(layers, {nn.Linear}, dtype=torch.qint8)
"""


def _dynamic(dtype=torch.qint8):
    layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8, bias=False))
    return torch.ao.quantization.quantize_dynamic(layers, {nn.Linear}, dtype=dtype)


def _static():
    ao = torch.ao.quantization
    net = nn.Sequential(ao.QuantStub(), nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 4, 1), ao.DeQuantStub())
    net = ao.fuse_modules(net.eval(), ["1", "2"])
    net.qconfig = ao.get_default_qconfig("x86" if "x86" in torch.backends.quantized.supported_engines else "qnnpack")
    ao.prepare(net, inplace=True)
    net(torch.randn(1, 3, 9, 9))
    return ao.convert(net)


def _traced(module, *shape):
    return trace(module, TraceInputs((torch.empty(shape, device="meta"),)))


def _given(way, net, written, saved):
    if way == "file":
        return load(saved(net))
    return load(written("net.py", FACTORY) + ":net") if way == "factory" else as_loaded(net)


@pytest.mark.parametrize("way", ["file", "factory", "module"])
def test_dynamically_quantized_linear_layers(way, written, saved):
    loaded = _given(way, _dynamic(), written, saved)
    found = _traced(loaded.module, 1, 64)
    assert found.flops == 2 * (64 * 64 + 64 * 8)
    facts = model_facts(loaded)
    assert (facts.parameters, facts.trainable_parameters) == (64 * 64 + 64 + 64 * 8, 0)
    first, last = (op for op in found.ops if op.kind == "matmul")
    assert first.bytes_read == 4 * 64 + 64 * 64 + 4 * 64 + 4 * 64  # input, int8 weight and its sums, bias
    assert last.bytes_read == 4 * 64 + 64 * 8 + 4 * 8
    assert spared_bytes(loaded.module, 4) == 3 * (64 * 64 + 64 * 8) - 4 * (64 + 8)


@pytest.mark.parametrize("way", ["file", "module"])
def test_statically_quantized_convolutions(way, written, saved):
    loaded = _given(way, _static(), written, saved)
    found = _traced(loaded.module, 1, 3, 9, 9)
    assert found.flops == 2 * 4 * 4 * (8 * 27 + 4 * 8)  # 4 x 4 positions
    assert model_facts(loaded).parameters == 8 * 27 + 8 + 4 * 8 + 4
    first = next(op for op in found.ops if op.kind == "conv")
    assert first.bytes_read == 4 * 3 * 81 + 8 * 27 + 4 * 8 + 4 * 8


@pytest.mark.parametrize("way", ["file", "module"])
def test_weights_of_sixteen_bits(way, written, saved):
    loaded = _given(way, _dynamic(torch.float16), written, saved)
    assert spared_bytes(loaded.module, 4) == 2 * (64 * 64 + 64 * 8)


def test_the_answer_says_so_and_the_module_stays_as_it_was():
    net = _dynamic()
    before = list(net)
    found = estimate(net, Scenario(inputs=("64",), hardware="A100-SXM4-40GB"))
    (said,) = (line for line in found.assumptions if line.name == "weights")
    assert said.value == "8-bit (int8) in 2 layers" and "8/32 of their float32 bytes" in said.source
    assert list(net) == before and net(torch.zeros(1, 64)).shape == (1, 8)


@pytest.mark.parametrize("way", ["file", "module"])
def test_a_quantized_layer_that_is_not_priced_has_a_remedy(way, written, saved):
    net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(8, 8)), {nn.LSTM}, dtype=torch.qint8)
    with pytest.raises(ModelFileError, match="LSTM is not priced: give the model as it was before it was quantized"):
        _given(way, net, written, saved)


def _library_class(monkeypatch, module, name, base=nn.Module):
    """A class of a library that is not installed, of the same name and attributes."""
    made = type(name, (base,), {"__module__": module})
    parts = module.split(".")
    for end in range(1, len(parts) + 1):  # pickle imports the packages around it too
        path = ".".join(parts[:end])
        monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    setattr(sys.modules[module], name, made)
    return made


def _packed_layer(cls, **attributes):
    layer = cls()
    for name, value in attributes.items():
        setattr(layer, name, value)
    layer.register_buffer("qweight", torch.zeros(64 * 4 // 32, 32, dtype=torch.int32))
    layer.register_buffer("qzeros", torch.zeros(2, 32 * 4 // 32, dtype=torch.int32))
    layer.register_buffer("scales", torch.zeros(2, 32, dtype=torch.float16))
    layer.register_buffer("bias", torch.zeros(32, dtype=torch.float16))
    return layer


AWQ = {"in_features": 64, "out_features": 32, "w_bit": 4, "group_size": 32}
GPTQ = {"infeatures": 64, "outfeatures": 32, "bits": 4, "group_size": 32}


@pytest.mark.parametrize("way", ["file", "module"])
@pytest.mark.parametrize(
    ("module", "name", "attributes"),
    [
        ("awq.modules.linear.gemm", "WQLinear_GEMM", AWQ),
        ("auto_gptq.nn_modules.qlinear.qlinear_cuda", "QuantLinear", GPTQ),
    ],
)
def test_packed_layers_of_libraries_that_are_not_installed(monkeypatch, written, saved, way, module, name, attributes):
    net = nn.Sequential(_packed_layer(_library_class(monkeypatch, module, name), **attributes))
    loaded = _given(way, net, written, saved)
    assert _traced(loaded.module, 1, 64).flops == 2 * 64 * 32
    assert model_facts(loaded).parameters == 64 * 32 + 32
    held = sum(t.nbytes for name, t in net[0].named_buffers() if name != "bias")  # as the library keeps them
    assert spared_bytes(loaded.module, 2) == 2 * 64 * 32 - held


@pytest.mark.parametrize("way", ["file", "module"])
def test_layers_of_bitsandbytes(monkeypatch, written, saved, way):
    class Base(nn.Linear):
        def __init__(self):
            super().__init__(64, 32)

    cls = _library_class(monkeypatch, "bitsandbytes.nn.modules", "Linear8bitLt", Base)
    loaded = _given(way, nn.Sequential(cls()), written, saved)
    assert _traced(loaded.module, 1, 64).flops == 2 * 64 * 32
    assert spared_bytes(loaded.module, 2) == 64 * 32 - 4 * 32
