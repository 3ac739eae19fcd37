"""Arguments for the code that builds a model, by hand and from a checkpoint, whose weights must fit.

Parameters are hand arithmetic: 9 w for the first layer, w (w + 1) for each of `depth`, 10 w + 10 for the last.
"""

from __future__ import annotations

import os
import sys
import zipfile
from argparse import Namespace
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from estimator.base.errors import ModelFileError
from estimator.commands import main
from estimator.sources import load
from estimator.sources.arguments import given

CODE = """\
from torch import nn
class Net(nn.Module):
    def __init__(self, width, depth=2, act="relu", *, bias=True):
        super().__init__()
        middle = [nn.Linear(width, width) for _ in range(depth)]
        self.layers = nn.Sequential(nn.Linear(8, width), *middle, nn.Linear(width, 10, bias=bias))
        self.act = act
    def forward(self, x): return self.layers(x)
class Task(nn.Module):
    def __init__(self, hparams):
        super().__init__()
        self.model = Net(hparams.width, hparams["depth"])
def positional(width, /): return Net(width)
def anything(**settings): return Net(settings["width"], settings["depth"])
def of_encoder(width, encoder=None): return Net(width)
instance = Net(4)
"""


class Net(nn.Module):
    """As the code above builds it."""

    def __init__(self, width: int, depth: int = 2) -> None:
        super().__init__()
        middle = [nn.Linear(width, width) for _ in range(depth)]
        self.layers = nn.Sequential(nn.Linear(8, width), *middle, nn.Linear(width, 10))


def parameters(width: int, depth: int) -> int:
    return 9 * width + depth * width * (width + 1) + 10 * width + 10


@pytest.fixture
def code(written) -> str:
    return written("net.py", CODE)


def built(spec: str, *arguments: str, checkpoint: str | None = None):
    return load(spec, given=given(arguments, checkpoint))


def count(spec: str, *arguments: str, checkpoint: str | None = None) -> int:
    return sum(p.numel() for p in built(spec, *arguments, checkpoint=checkpoint).module.parameters())


def refused(spec: str, *arguments: str, checkpoint: str | None = None) -> str:
    with pytest.raises(ModelFileError) as caught:
        built(spec, *arguments, checkpoint=checkpoint)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


def weights(width: int, depth: int, head: str = "") -> dict[str, torch.Tensor]:
    return {head + name: tensor for name, tensor in Net(width, depth).state_dict().items()}


def test_arguments_by_hand(code):
    assert count(f"{code}:Net", "width=6", "depth = 3") == parameters(6, 3)
    assert count(f"{code}:Net", "width=6", "bias=false") == parameters(6, 2) - 10
    assert count(f"{code}:positional", "width=6") == parameters(6, 2)
    assert count(f"{code}:anything", "width=6", "depth=1") == parameters(6, 1)
    model = built(f"{code}:Net", "width=6", "act=gelu").module
    assert model.act == "gelu"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=3", 3),
        ("a=1e-3", 1e-3),
        ("a=[1, 2]", [1, 2]),
        ("a={'b': (1, None)}", {"b": (1, None)}),
        ("a=true", True),
        ("a=None", None),
        ("a='3'", "3"),
        ("a=x=y", "x=y"),
        ("a=", ""),
        ("a=__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("a=" + "(" * 5000, "(" * 5000),
    ],
)
def test_values_are_literals_else_text(text, value):
    assert given([text], None).arguments == {"a": value}


@pytest.mark.parametrize(
    ("spec", "arguments", "words"),
    [
        ("Net", ["widht=3"], ["no argument widht", "Net(width, depth=2, act='relu', *, bias=True)"]),
        ("Net", ["depth=3"], ["needs arguments (width)", "--arg width=VALUE", "--checkpoint"]),
        ("Net", ["width"], ["NAME=VALUE"]),
        ("Net", ["3=4"], ["NAME=VALUE"]),
        ("Net", ["width=wide"], ["TypeError", "net.py, line"]),
        ("instance", ["width=3"], ["built already"]),
    ],
)
def test_what_is_wrong_with_an_argument_is_told(code, spec, arguments, words):
    message = refused(f"{code}:{spec}", *arguments)
    assert all(word in message for word in words), message


def test_arguments_are_for_code_alone(saved):
    for spec in (saved(nn.Linear(3, 4)), "timm:resnet18"):
        assert "`file.py:Net`" in refused(spec, "width=3")


def lightning(width: int, depth: int, head: str = "model.", **more: object) -> dict[str, object]:
    kept = {"width": width, "depth": depth, "lr": 1e-3}
    return {"epoch": 1, "state_dict": weights(width, depth, head), "hyper_parameters": kept} | more


CHECKPOINTS = {
    "lightning": lambda: lightning(5, 3),
    "distributed and compiled": lambda: lightning(5, 3, "module._orig_mod."),
    "with more around it": lambda: lightning(5, 3, "task.net."),
    "namespace": lambda: {"model": weights(5, 3), "args": Namespace(width=5, depth=3, out=Path("out"))},
    "plain": lambda: {"model_args": {"width": 5, "depth": 3}, "model": weights(5, 3), "optimizer": {"state": {}}},
    "averaged beside": lambda: {"ema": weights(7, 1)} | lightning(5, 3),
    "settings alone": lambda: {"hparams": {"width": 5, "depth": 3}},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_hyper_parameters_are_the_arguments(code, saved, kind):
    checkpoint = saved(CHECKPOINTS[kind](), "last.ckpt")
    model = built(f"{code}:Net", checkpoint=checkpoint)
    assert sum(p.numel() for p in model.module.parameters()) == parameters(5, 3)
    assert "last.ckpt: width=5, depth=3" in model.notes[0] and "lr" not in model.notes[0]
    if kind != "settings alone":
        assert "another model" in refused(f"{code}:Net", "depth=2", checkpoint=checkpoint)


def test_arguments_by_hand_go_before_the_checkpoints(code, saved):
    checkpoint = saved({"hyper_parameters": {"width": 5, "depth": 3}})
    assert count(f"{code}:Net", "depth=1", checkpoint=checkpoint) == parameters(5, 1)


def test_all_settings_as_one_argument(code, saved):
    checkpoint = saved(lightning(5, 3, "model.", hparams_name="hparams"))
    assert count(f"{code}:Task", checkpoint=checkpoint) == parameters(5, 3)
    assert count(f"{code}:anything", checkpoint=checkpoint) == parameters(5, 3)


def test_settings_of_omegaconf(code, saved, monkeypatch):
    module = ModuleType("omegaconf")
    for name in ("DictConfig", "AnyNode"):
        setattr(module, name, type(name, (), {"__module__": "omegaconf"}))
    monkeypatch.setitem(sys.modules, "omegaconf", module)

    def node(name: str, **state: object) -> object:
        made = getattr(module, name)()
        vars(made).update(state)
        return made

    content = {"width": node("AnyNode", _val=5), "depth": node("AnyNode", _val=3)}
    checkpoint = saved({"hyper_parameters": node("DictConfig", _content=content, _parent=None)})
    assert count(f"{code}:Net", checkpoint=checkpoint) == parameters(5, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["width=4"], ["layers.0.weight is 5x8 there and 4x8 here"]),
        (["depth=4"], ["layers.4.weight is 10x5 there and 5x5 here"]),
        (["bias=False"], ["layers.4.bias is there and not here"]),
    ],
)
def test_weights_of_another_model_are_told(code, saved, arguments, words):
    message = refused(f"{code}:Net", *arguments, checkpoint=saved(lightning(5, 3), "last.ckpt"))
    assert all(word in message for word in [*words, "last.ckpt", "--arg"]), message


def test_weights_of_something_else_are_told(code, saved):
    message = refused(f"{code}:Net", "width=3", checkpoint=saved(nn.LSTM(3, 4).state_dict()))
    assert "no tensor has the same name, such as layers.0.weight and weight_ih_l0" in message
    fewer = {name: tensor for name, tensor in weights(5, 2).items() if name != "layers.3.bias"}
    assert "layers.3.bias is not there" in refused(f"{code}:Net", "width=5", checkpoint=saved(fewer))


def test_settings_that_are_no_plain_data(code, saved):
    checkpoint = saved({"hyper_parameters": {"width": 3, "encoder": nn.Linear(3, 4)}}, "last.ckpt")
    assert count(f"{code}:Net", checkpoint=checkpoint) == parameters(3, 2)  # which takes no encoder
    message = refused(f"{code}:of_encoder", checkpoint=checkpoint)
    assert "encoder in the hyper_parameters of last.ckpt is a Linear" in message and "--arg encoder=VALUE" in message
    assert count(f"{code}:of_encoder", "encoder=None", checkpoint=checkpoint) == parameters(3, 2)


@pytest.mark.parametrize(("call", "said"), [(os.mkdir, "not safe"), (zipfile.ZipFile, "no plain data")])
def test_nothing_of_a_checkpoint_is_run(code, saved, tmp_path, call, said):
    class Bomb:
        def __reduce__(self):
            return call, (str(tmp_path / "ran"),)

    assert said in refused(f"{code}:Net", checkpoint=saved({"hyper_parameters": {"width": Bomb()}}))
    assert not (tmp_path / "ran").exists()


def test_what_is_no_checkpoint(code, saved):
    assert "there is no file" in refused(f"{code}:Net", checkpoint="nowhere.ckpt")
    assert "neither hyper_parameters nor a state_dict" in refused(f"{code}:Net", checkpoint=saved({"epoch": 3}))
    assert "text file" in refused(f"{code}:Net", checkpoint=code)


def test_weights_alone_say_what_is_there_and_the_remedy_works(code, saved):
    checkpoint = saved(lightning(5, 3) | {"path": PurePosixPath("a")}, "last.ckpt")
    with pytest.raises(ModelFileError) as caught:
        load(checkpoint)
    message = str(caught.value)
    assert f"10 tensors, {parameters(5, 3)} parameters, and hyper_parameters width=5, depth=3, lr=0.001" in message
    assert "`estimate file.py:Net --checkpoint last.ckpt`" in message
    ran = CliRunner().invoke(main, [f"{code}:Net", "--checkpoint", checkpoint, "--hardware", "t4", "--explain"])
    assert ran.exit_code == 0 and f"{parameters(5, 3)} parameters" in ran.output and "width=5, depth=3" in ran.output
    ran = CliRunner().invoke(main, [f"{code}:Net", "--checkpoint", checkpoint, "--arg", "width=4", "--hardware", "t4"])
    assert ran.exit_code == 2 and "another model" in ran.output


@pytest.mark.parametrize(
    ("more", "remedy"),
    [
        ({"arch": "resnet18"}, "`estimate timm:resnet18`"),
        ({"hyper_parameters": {"_class_path": "nets.big.Net"}}, "`estimate nets.big:Net --checkpoint model.pt`"),
    ],
)
def test_weights_that_name_their_architecture(saved, more, remedy):
    with pytest.raises(ModelFileError) as caught:
        load(saved({"state_dict": weights(3, 1)} | more))
    assert remedy in str(caught.value)


def test_a_model_among_the_settings_is_a_part(saved):
    path = saved({"state_dict": weights(3, 1), "hyper_parameters": {"encoder": nn.Linear(3, 4)}})
    with pytest.raises(ModelFileError) as caught:
        load(path)
    assert "weights only" in str(caught.value) and "::hyper_parameters.encoder`" in str(caught.value)
    assert load(f"{path}::hyper_parameters.encoder").module.in_features == 3


@pytest.mark.filterwarnings("ignore")
def test_quantized_weights_lead_to_the_code_and_no_further(code, saved):
    layers = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 10))
    quantized = torch.ao.quantization.quantize_dynamic(layers, {nn.Linear}, dtype=torch.qint8)
    for value in (quantized.state_dict(), {"model": {"0.qweight": torch.zeros(1), "0.scales": torch.zeros(1)}}):
        checkpoint = saved(value)
        with pytest.raises(ModelFileError) as caught:
            load(checkpoint)
        assert "quantized layers" in str(caught.value) and "--checkpoint model.pt`" in str(caught.value)
        loaded = built(f"{code}:Net", "width=4", checkpoint=checkpoint)
        assert "quantized and not compared" in loaded.notes[0]
