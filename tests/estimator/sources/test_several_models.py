"""A file or a factory with several models says which, with parameters (hand arithmetic), and lets one be named."""

from __future__ import annotations

from argparse import Namespace

import pytest
from click.testing import CliRunner
from torch import nn, optim

from estimator.commands import main
from estimator.sources import check, load
from tests.estimator.sources.conftest import refusal


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))  # 16 + 10 parameters


def features(spec: str) -> tuple[int, int]:
    layer = load(spec).module
    return layer.in_features, layer.out_features


SEVERAL = {
    "dict": (lambda: {"generator": nn.Linear(3, 8), "discriminator": net(), "epoch": 3}, "generator", "discriminator"),
    "list": (lambda: [nn.Linear(3, 8), net()], "0", "1"),
    "pair": (lambda: (nn.Linear(3, 8), nn.DataParallel(net())), "0", "1"),
    "nested": (lambda: {"nets": {"g": nn.Linear(3, 8), "d": [net()]}}, "nets.g", "nets.d.0"),
    "modules": (lambda: nn.ModuleDict({"a": nn.Linear(3, 8), "b": net()}), "a", "b"),
    "module list": (lambda: nn.ModuleList([nn.Linear(3, 8), net()]), "0", "1"),
    "distilled": (lambda: {"student": nn.Linear(3, 8), "teacher": net()}, "student", "teacher"),
    "object": (lambda: Namespace(first=nn.Linear(3, 8), second=net()), "first", "second"),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_each_is_told_and_can_be_named(saved, kind):
    make, first, second = SEVERAL[kind]
    path = saved(make())
    message = refusal(path)
    assert f"2 models, {first} (Linear, 32 parameters) and {second} (Sequential, 26 parameters)" in message
    assert f"::{first}`" in message and f"::{second}`" in message
    assert features(f"{path}::{first}") == (3, 8)
    assert features(f"{path}::{second}.2") == (4, 2)
    assert load(f"{path}::{second}").name == f"model::{second}"
    assert f"has no third: it holds {first}" in refusal(f"{path}::third")


@pytest.mark.parametrize(
    "value",
    [
        (net(), {"accuracy": 0.5}),
        [net()],
        {"model": net(), "criterion": nn.CrossEntropyLoss(), "best": 0.5},
        {"model": net(), "loss_fn": nn.Linear(3, 8)},
        {"model": net(), "scheduler": optim.lr_scheduler.StepLR(optim.SGD(net().parameters(), 0.1), 3)},
        {"epoch": 1, "student": net(), "teacher": None},
        {"nets": [{"net": net()}]},
        nn.ModuleList([net()]),
        Namespace(model=net(), lr=1),
    ],
)
def test_what_stands_beside_the_only_model_is_left_alone(saved, value):
    assert [type(layer) for layer in load(saved(value)).module] == [nn.Linear, nn.ReLU, nn.Linear]


def test_the_same_model_under_two_names_is_one(saved):
    model = net()
    assert load(saved({"model": model, "best": nn.DataParallel(model)})).notes == ()


@pytest.mark.parametrize("copy", ["ema", "model_ema", "ema_model", "swa_model", "averaged"])
def test_an_averaged_copy_is_not_the_model_beside_it(saved, copy):
    path = saved({copy: nn.Linear(3, 8), "model": net()})
    loaded = load(path)
    assert len(loaded.module) == 3 and f"`::{copy}`" in loaded.notes[0]
    assert features(f"{path}::{copy}") == (3, 8)


def test_a_frozen_average_is_trained_as_the_model_that_it_averages(saved):
    frozen = net().requires_grad_(False)
    loaded = load(saved({"model": None, "ema": frozen}))
    assert all(parameter.requires_grad for parameter in loaded.module.parameters()) and "ema" in loaded.notes[0]
    left = load(saved({"model": frozen}))
    assert not any(parameter.requires_grad for parameter in left.module.parameters()) and left.notes == ()


def test_a_layer_of_a_model(saved):
    path = saved(net())
    assert features(f"{path}::2") == (4, 2)
    assert "has no layer 7" in refusal(f"{path}::7")


@pytest.mark.parametrize("spec", ["timm:resnet18::layer1", "mlp:3x3x3::0"])
def test_what_is_one_model_has_no_parts(spec):
    assert f"leave out `::{spec.rpartition(':')[2]}`" in refusal(spec)


def test_an_export_or_a_directory_has_no_parts(exported, written):
    import torch

    assert "leave out `::0`" in refusal(exported(net(), torch.zeros(2, 3)) + "::0")
    directory = written("bert/config.json", {"model_type": "bert"}).rpartition("/")[0]
    assert "leave out `::encoder`" in refusal(f"{directory}::encoder")


def test_a_path_is_taken_as_it_is_and_a_missing_file_is_told(saved):
    path = saved(net(), "a::b.pt")
    check(path)
    assert load(path).name == "a::b"
    check(f"{path}::2")
    assert "no file or directory nowhere.pt:" in refusal("nowhere.pt::generator")


CODE = """\
import torch
from torch import nn
def gan(): return {"generator": nn.Linear(3, 8), "discriminator": nn.DataParallel(nn.Linear(8, 1))}
def pair(): return nn.Linear(3, 8), nn.Linear(8, 1)
def with_info(): return nn.Linear(3, 8), {"accuracy": 0.5}
def with_example(): return nn.Linear(3, 8), torch.zeros(2, 3)
both = nn.ModuleList([nn.Linear(3, 8), nn.Linear(8, 1)])
"""


def test_factories_with_several_models(written):
    file = written("net.py", CODE)
    assert "generator (Linear, 32 parameters) and discriminator (Linear, 9 parameters)" in refusal(f"{file}:gan")
    assert features(f"{file}:gan::discriminator") == (8, 1)
    assert load(f"{file}:gan::discriminator").name == "gan::discriminator"
    for name in ("pair", "both"):
        assert f"`estimate {file}:{name}::0`"[-30:] in refusal(f"{file}:{name}")
        assert features(f"{file}:{name}::1") == (8, 1)
    assert load(f"{file}:with_info").inputs is None and features(f"{file}:with_info") == (3, 8)
    assert load(f"{file}:with_example").inputs is not None


def test_two_models_of_a_file_side_by_side(saved):
    path = saved({"generator": nn.Linear(3, 8), "discriminator": net()}, "gan.pt")
    ran = CliRunner().invoke(main, ["compare", f"{path}::generator", f"{path}::discriminator", "--hardware", "t4"])
    assert ran.exit_code == 0 and "generator " in ran.output and "discriminator " in ran.output
    ran = CliRunner().invoke(main, [path, "--hardware", "t4"])
    assert ran.exit_code == 2 and "2 models" in ran.output
