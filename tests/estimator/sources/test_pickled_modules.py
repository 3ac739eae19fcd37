"""Pickled modules of every common library load with the same parameters, on meta, without their code being pickled."""

from __future__ import annotations

import warnings
from argparse import Namespace
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from estimator.sources import load
from estimator.sources.guessing import guess_inputs
from estimator.sources.inputs import build_inputs
from tests.estimator.sources.conftest import refusal


class OwnNet(nn.Linear):
    """A class that a file names and does not carry."""


def shapes(module):
    return {name: (tuple(t.shape), t.dtype) for name, t in module.state_dict(keep_vars=True).items()}


def same_and_runs(path, original, batch=2):
    loaded = load(path)
    assert loaded.form == "pickled module" and loaded.name == "model"
    assert shapes(loaded.module) == shapes(original)
    assert all(p.is_meta for p in loaded.module.parameters())
    specs, _ = guess_inputs(loaded.module)
    args, kwargs = build_inputs(specs, batch, torch.float32)
    with torch.no_grad():
        return loaded.module.eval()(*args, **kwargs)


@pytest.mark.parametrize("name", ["resnet50", "vit_b_16", "swin_t", "googlenet", "efficientnet_b0"])
def test_torchvision(saved, name):
    models = import_module("torchvision.models")
    with torch.device("meta"):
        model = models.get_model(name, weights=None)
    assert same_and_runs(saved(model), model).shape == (2, 1000)


@pytest.mark.parametrize("name", ["resnet50", "vit_tiny_patch16_224", "convnext_atto", "regnety_002", "levit_128s"])
def test_timm(saved, name):
    timm = import_module("timm")
    with torch.device("meta"):
        model = timm.create_model(name)
    assert same_and_runs(saved(model), model).shape == (2, 1000)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "vit", "gemma"])
def test_transformers(saved, name):
    transformers = import_module("transformers")
    config = (
        transformers.CONFIG_MAPPING[name](num_hidden_layers=2) if name != "t5" else transformers.T5Config(num_layers=2)
    )
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
    same_and_runs(saved(model), model)


NETS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)),
    "lstm": lambda: nn.LSTM(8, 16, 2, batch_first=True),
    "gru": lambda: nn.GRU(8, 16, bidirectional=True),
    "transformer": lambda: nn.Transformer(32, 4, 1, 1, 64),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, activation=torch.relu), 2),
    "gelu": lambda: nn.TransformerEncoderLayer(32, 4, activation=nn.functional.gelu, batch_first=True),
    "attention": lambda: nn.MultiheadAttention(32, 4),
    "embedding": lambda: nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 2)),
    "conv": lambda: nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU()),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 5}])
def test_plain_torch(saved, name, how):
    model = NETS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = saved(model, **how)
    same_and_runs(path, model)


def test_numbers_of_numpy_become_plain(saved):
    numpy = import_module("numpy")
    model = nn.Linear(3, 4)
    model.rate, model.count = numpy.float64(0.25), numpy.int32(7)
    loaded = load(saved(model)).module
    assert (loaded.rate, loaded.count) == (0.25, 7)


def test_what_lies_beside_the_model_in_a_checkpoint_is_left_alone(saved):
    model = nn.Linear(3, 4)
    assert isinstance(load(saved({"model": model, "args": Namespace(lr=1), "path": Path("here")})).module, nn.Linear)


def test_tied_weights_stay_tied(saved):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    loaded = load(saved(model)).module
    assert loaded[0].weight is loaded[1].weight


def test_frozen_and_half_precision_parameters(saved):
    model = nn.Linear(3, 4).bfloat16()
    model.bias.requires_grad_(False)
    loaded = load(saved(model)).module
    assert loaded.weight.dtype == torch.bfloat16
    assert (loaded.weight.requires_grad, loaded.bias.requires_grad) == (True, False)


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, lambda m: {"model": m, "epoch": 3}, lambda m: {"ema": m, "model": None}]
)
def test_wrappers_are_opened(saved, wrap):
    assert isinstance(load(saved(wrap(nn.Linear(3, 4)))).module, nn.Linear)


def test_a_checkpoint_with_its_optimizer(saved):
    model = nn.Linear(3, 4)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()  # its state has tensors for keys
    assert isinstance(load(saved({"model": model, "optimizer": optimizer})).module, nn.Linear)
    assert "save the model alone" in refusal(saved(optimizer))
    model.optimizer = optimizer
    assert "save the model alone" in refusal(saved(model))


def test_compiled_modules_are_opened(saved):
    compiled = torch.compile(nn.Linear(3, 4))
    for value in (compiled, {"model": compiled}):
        assert type(load(saved(value)).module) is nn.Linear
    assert type(load(saved(nn.Sequential(compiled))).module[0]) is nn.Linear


def test_lazy_layers_ask_for_a_first_batch(saved):
    assert "model(example_input)" in refusal(saved(nn.Sequential(nn.LazyLinear(3))))


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        (lambda m: torch.nn.utils.prune.l1_unstructured(m, "weight", 0.5), "torch.nn.utils.prune.remove("),
        (nn.utils.weight_norm, "torch.nn.utils.remove_weight_norm("),
        (nn.utils.spectral_norm, "torch.nn.utils.remove_spectral_norm("),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_hooks_of_torchs_own_have_a_remedy(saved, change, remedy):
    model = nn.Linear(3, 4)
    change(model)
    assert remedy in refusal(saved(nn.Sequential(model)))


def test_state_dict_asks_for_the_code(saved):
    linear = nn.Linear(3, 4)
    optimizer = torch.optim.Adam(linear.parameters())
    for value in (linear.state_dict(), {"state_dict": linear.state_dict(), "optimizer": optimizer.state_dict()}):
        message = refusal(saved(value))
        assert "state_dict" in message and "file.py:Net" in message and "package.module:factory" in message


@pytest.mark.parametrize(("value", "word"), [(torch.ones(3), "one tensor"), ({"lr": 1}, "without a model"), (3, "int")])
def test_what_is_no_model(saved, value, word):
    message = refusal(saved(value))
    assert word in message and "file.py:Net" in message


def test_class_of_the_users_own(saved):
    message = refusal(saved(OwnNet(3, 4)))
    assert "OwnNet" in message and "`estimate tests.estimator.sources.test_pickled_modules:OwnNet`" in message
    assert "torch.export.save(torch.export.export(model, (example_input,))" in message


def test_class_from_a_script(saved, monkeypatch):
    monkeypatch.setattr(OwnNet, "__module__", "__main__")
    monkeypatch.setitem(__import__("sys").modules["__main__"].__dict__, "OwnNet", OwnNet)
    assert "`estimate file.py:OwnNet`" in refusal(saved(OwnNet(3, 4)))


def test_hooks_are_refused(saved):
    model = nn.Linear(3, 4)
    model.register_forward_hook(torch.nn.functional.relu)
    assert "hooks" in refusal(saved(model))


def test_a_method_replaced_on_the_object_is_refused(saved):
    model = nn.Linear(3, 4)
    model.forward = torch.nn.functional.relu
    assert "replaces its own method forward" in refusal(saved(model))


def test_a_layer_that_contains_itself_is_refused(saved):
    model = nn.Sequential(nn.Linear(3, 4))
    model._modules["1"] = model
    assert "contains itself" in refusal(saved(model))


def test_an_attribute_that_is_a_class_is_inert(saved):
    model = nn.Linear(3, 4)
    model.norm = nn.LayerNorm
    loaded = load(saved(model)).module
    with pytest.raises(Exception, match="LayerNorm"):
        loaded.norm(10**12)
