"""Exported programs are carried out as data, at any batch, with original parameter names and layers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from estimator.sources import load
from estimator.sources.inputs import InputSpec, build_inputs, is_assumed
from tests.estimator.sources.conftest import refusal


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)
        self.register_buffer("scale", torch.ones(8), persistent=False)

    def forward(self, x):
        h = self.norm(self.conv(x)).relu()
        h = h.view(x.shape[0], 8, -1).mean(-1) * self.scale + torch.arange(8)
        first, second = h.chunk(2, -1)
        return self.head(torch.cat([second, first], -1)), h


def run(loaded, batch):
    args, kwargs = build_inputs(loaded.inputs, batch, torch.float32)
    result = loaded.module(*args, **kwargs)
    return [tuple(t.shape) for t in (result if isinstance(result, tuple) else (result,))]


def test_dynamic_batch(exported):
    loaded = load(exported(Small(), torch.zeros(2, 3, 8, 8)))
    assert loaded.form == "torch.export program" and loaded.fixed_batch is None
    assert loaded.inputs == (InputSpec((3, 8, 8), example_batch=2),)
    assert run(loaded, 1) == [(1, 4), (1, 8)]
    assert run(loaded, 4) == [(4, 4), (4, 8)]


def test_a_dynamic_size_beside_the_batch_is_assumed(tmp_path):
    dim = torch.export.Dim
    for steps, assumed in ((dim("steps", min=2, max=64), True), (None, False)):
        shapes = ({0: dim("batch", min=1, max=64), **({1: steps} if steps else {})},)
        program = torch.export.export(nn.Linear(4, 2), (torch.zeros(3, 5, 4),), dynamic_shapes=shapes)
        torch.export.save(program, tmp_path / "model.pt2")
        loaded = load(str(tmp_path / "model.pt2"))
        assert loaded.inputs == (InputSpec((5, 4), example_batch=3),) and is_assumed(loaded.inputs_source) == assumed


def test_static_batch(exported):
    loaded = load(exported(Small(), torch.zeros(2, 3, 8, 8), dynamic=False))
    assert loaded.fixed_batch == 2 and run(loaded, 2) == [(2, 4), (2, 8)]
    with pytest.raises(ValueError, match="takes its input x as 2 x 3 x 8 x 8 and got 1 x 3 x 8 x 8"):
        run(loaded, 1)


def test_parameters_have_their_names_and_are_on_meta(exported):
    module = load(exported(Small(), torch.zeros(2, 3, 8, 8))).module
    assert set(dict(module.named_parameters())) == set(dict(Small().named_parameters()))
    assert set(dict(module.named_buffers())) == set(dict(Small().named_buffers()))
    assert all(t.is_meta for t in module.state_dict().values())


def test_layers_are_told(exported):
    loaded = load(exported(Small(), torch.zeros(2, 3, 8, 8)))
    told = []
    loaded.module.layer_scope = lambda path, kind: told.append((path, kind))
    run(loaded, 3)
    assert ("conv", "Conv2d") in told and ("head", "Linear") in told and ("", "Small") in told


def test_gradients_flow(exported):
    module = load(exported(Small(), torch.zeros(2, 3, 8, 8))).module
    module(torch.empty(5, 3, 8, 8, device="meta"))[0].sum().backward()
    assert module.conv.weight.grad.shape == (8, 3, 3, 3)


def test_resnet_and_vit(exported):
    timm = import_module("timm")
    for name in ("resnet10t", "vit_tiny_patch16_224"):
        model = timm.create_model(name, **({"depth": 2} if "vit" in name else {}))
        loaded = load(exported(model, torch.zeros(2, 3, 224, 224)))
        assert run(loaded, 1) == [(1, 1000)] and run(loaded, 4) == [(4, 1000)]


def test_bert_with_two_inputs(exported):
    transformers = import_module("transformers")
    config = transformers.BertConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=64)
    ids = torch.zeros(2, 16, dtype=torch.long)
    loaded = load(exported(transformers.BertModel(config), input_ids=ids, attention_mask=torch.ones_like(ids)))
    assert [spec.dtype for spec in loaded.inputs] == ["int64", "int64"]
    assert run(loaded, 1) == [(1, 16, 32), (1, 32)] and run(loaded, 4) == [(4, 16, 32), (4, 32)]
    with pytest.raises(TypeError, match="takes no input 'tokens'"):
        loaded.module(tokens=ids)


def test_llama_with_a_region_under_no_grad(exported):
    transformers = import_module("transformers")
    config = transformers.LlamaConfig(
        num_hidden_layers=1,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=99,
        use_cache=False,
    )
    loaded = load(exported(transformers.LlamaForCausalLM(config), input_ids=torch.zeros(2, 16, dtype=torch.long)))
    assert run(loaded, 4) == [(4, 16, 99)]


def test_lstm(exported):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1])

    loaded = load(exported(Net(), torch.zeros(2, 5, 8)))
    assert loaded.inputs == (InputSpec((5, 8), example_batch=2),) and run(loaded, 3) == [(3, 4)]


def test_too_many_inputs_are_told(exported):
    loaded = load(exported(Small(), torch.zeros(2, 3, 8, 8)))
    x = torch.empty(1, 3, 8, 8, device="meta")
    with pytest.raises(TypeError, match="takes 1 inputs and got 2"):
        loaded.module(x, x)
    with pytest.raises(TypeError, match="takes no input 'y'"):
        loaded.module(y=x)


def test_a_pt2_cut_short_is_told(exported):
    path = exported(Small(), torch.zeros(2, 3, 8, 8))
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])
    assert "damaged or cut short" in refusal(path)
