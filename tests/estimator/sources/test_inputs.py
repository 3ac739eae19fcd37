"""`--input` is read strictly, and inputs are derived from the first layer or the library's settings."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from estimator.base.errors import InputError
from estimator.sources.guessing import guess_inputs
from estimator.sources.inputs import InputSpec, build_inputs, is_assumed, parse_input


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("3x224x224", InputSpec((3, 224, 224))),
        ("784", InputSpec((784,))),
        (" 3X8×8 ", InputSpec((3, 8, 8))),
        ("tokens:512", InputSpec((512,), "int64")),
        ("int64:3x4", InputSpec((3, 4), "int64")),
        ("bool:16", InputSpec((16,), "bool")),
        ("pixel_values=3x224x224", InputSpec((3, 224, 224), "float", "pixel_values")),
        ("input_ids=tokens:128", InputSpec((128,), "int64", "input_ids")),
    ],
)
def test_forms(text, spec):
    assert parse_input(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "3x", "3xx4", "-3x4", "3.5", "tokens:", "complex:3", "a b=3", "=3", "3x0", "9" * 15, "1x" * 8 + "1"),
        *("99999999x99999999", "3" * 300, "__import__('os'):3", "int64:3x4\n5"),
    ],
)
def test_what_is_no_input(text):
    with pytest.raises(InputError, match="--input"):
        parse_input(text)


def test_building():
    specs = [InputSpec((5, 8), batch_dim=1), InputSpec((3,), "int64", "ids"), InputSpec((), "int64", "step")]
    args, kwargs = build_inputs(specs, 4, torch.bfloat16)
    assert [tuple(t.shape) for t in args] == [(5, 4, 8)] and args[0].dtype == torch.bfloat16
    assert {name: (tuple(t.shape), t.dtype) for name, t in kwargs.items()} == {
        "ids": ((4, 3), torch.int64),
        "step": ((4,), torch.int64),
    }
    assert all(t.is_meta for t in [*args, *kwargs.values()])
    with pytest.raises(InputError, match="--input"):
        build_inputs([InputSpec((2**40, 2**40))], 1, torch.float32)


GUESSES = {
    "linear": (lambda: nn.Linear(7, 3), [(7,)]),
    "conv2d": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten()), [(3, 224, 224)]),
    "grey": (lambda: nn.Conv2d(1, 8, 3), [(1, 28, 28)]),
    "conv1d": (lambda: nn.Conv1d(2, 8, 3), [(2, 16000)]),
    "conv3d": (lambda: nn.Conv3d(3, 8, 3), [(3, 16, 112, 112)]),
    "bag": (lambda: nn.EmbeddingBag(50, 8), [(512,)]),
    "cell": (lambda: nn.LSTMCell(8, 3), [(8,)]),
    "bilinear": (lambda: nn.Bilinear(3, 4, 2), [(3,), (4,)]),
    "norm": (lambda: nn.LayerNorm((4, 5)), [(4, 5)]),
    "batch norm": (lambda: nn.BatchNorm2d(3), [(3, 224, 224)]),
    "attention": (lambda: nn.MultiheadAttention(8, 2, kdim=3, vdim=5), [(512, 8), (512, 3), (512, 5)]),
    "decoder": (lambda: nn.TransformerDecoderLayer(8, 2, batch_first=True), [(512, 8), (512, 8)]),
    "transformer": (lambda: nn.Transformer(8, 2, 1, 1, 8), [(512, 8), (512, 8)]),
    "weight_norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(7, 3)), nn.Linear(3, 2)), [(7,)]),
    "spectral_norm": (lambda: parametrizations.spectral_norm(nn.Linear(7, 3)), [(7,)]),
    "encoder": (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 1), [(512, 8)]),
}


@pytest.mark.parametrize("name", GUESSES)
def test_guesses_run(name):
    make, shapes = GUESSES[name]
    with torch.device("meta"):
        module = make()
    specs, source = guess_inputs(module)
    assert [spec.shape for spec in specs] == shapes and source
    args, kwargs = build_inputs(specs, 2, torch.float32)
    module.eval()(*args, **kwargs)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_batch_stands_where_b_says(batch_size):
    """512 steps of 3 features, batch second, as torch's own recurrent layers and transformers take it."""
    spec = parse_input("512xBx3")
    assert spec == InputSpec((512, 3), batch_dim=1)
    assert str(spec) == "512xBx3"
    (tensor,), _ = build_inputs([spec], batch_size, torch.float32)
    assert tensor.shape == (512, batch_size, 3)


@pytest.mark.parametrize("text", ["B", "BxBx3", "3xb"])
def test_one_batch_beside_sizes(text):
    with pytest.raises(InputError, match="512xBx64"):
        parse_input(text)


def test_the_batch_of_an_rnn():
    assert guess_inputs(nn.LSTM(8, 3))[0][0].batch_dim == 1
    assert guess_inputs(nn.LSTM(8, 3, batch_first=True))[0][0].batch_dim == 0
    spec = guess_inputs(nn.Embedding(50, 8))[0][0]
    assert (spec.dtype, spec.high) == ("int64", 50)


def test_the_source_says_what_was_assumed():
    assert guess_inputs(nn.Conv2d(3, 64, 7))[1].startswith("first layer Conv2d(3, 64")
    assert "3 channels, 224x224 assumed" in guess_inputs(nn.Conv2d(3, 64, 7))[1]


class Assumed(nn.Linear):
    """A name that must not be taken for our word."""

    def extra_repr(self):
        return "assumed"


ASSUMED = {  # by hand: is there a size in the input that no setting of the layer tells?
    "linear": (lambda: nn.Linear(7, 3), False),
    "name": (lambda: Assumed(7, 3), False),
    "bilinear": (lambda: nn.Bilinear(3, 4, 5), False),
    "cell": (lambda: nn.LSTMCell(3, 4), False),
    "layer_norm": (lambda: nn.LayerNorm(8), False),
    "batch_norm_1d": (lambda: nn.BatchNorm1d(8), False),
    "batch_norm_2d": (lambda: nn.BatchNorm2d(8), True),
    "conv1d": (lambda: nn.Conv1d(1, 2, 3), True),
    "conv2d": (lambda: nn.Conv2d(3, 2, 3), True),
    "transposed": (lambda: nn.ConvTranspose2d(3, 2, 3), True),
    "embedding": (lambda: nn.Embedding(9, 2), True),
    "lstm": (lambda: nn.LSTM(3, 4), True),
    "attention": (lambda: nn.MultiheadAttention(8, 2), True),
    "encoder_layer": (lambda: nn.TransformerEncoderLayer(8, 2), True),
    "decoder_layer": (lambda: nn.TransformerDecoderLayer(8, 2), True),
    "transformer": (lambda: nn.Transformer(8, 2, 1, 1, 8), True),
}


@pytest.mark.parametrize("name", ASSUMED)
def test_assumed_sizes_are_told_from_known_ones(name):
    make, assumed = ASSUMED[name]
    source = guess_inputs(make())[1]
    assert is_assumed(source) == assumed, source


def test_lazy_layers_ask_for_a_first_batch():
    with pytest.raises(InputError, match=r"lazy layers .* model\(example_input\)"):
        guess_inputs(nn.Sequential(nn.LazyLinear(3)))
    ready = nn.LazyLinear(3)
    ready(torch.ones(1, 7))
    assert guess_inputs(ready)[0] == (InputSpec((7,)),)


@pytest.mark.parametrize("module", [nn.ReLU(), nn.Sequential(), nn.ModuleList()])
def test_nothing_to_derive_from(module):
    with pytest.raises(InputError, match="--input"):
        guess_inputs(module)


def test_settings_of_an_unexpected_kind_fall_back_to_the_first_layer():
    module = nn.Linear(7, 3)
    module.config = {"sample_size": "large"}
    module.default_cfg = {"input_size": "big"}
    assert guess_inputs(module)[0] == (InputSpec((7,)),)


@pytest.mark.parametrize(
    ("kind", "names", "assumed"),
    [
        ("bert", ["input_ids"], True),
        ("t5", ["input_ids", "decoder_input_ids"], True),
        ("vit", ["pixel_values"], False),  # ViTConfig.image_size and num_channels
        ("whisper", ["input_features", "decoder_input_ids"], True),  # 3000 frames are set, the decoder's tokens not
        ("wav2vec2", ["input_values"], True),
        ("clip", ["input_ids", "pixel_values"], True),
        ("resnet", ["pixel_values"], True),  # ResNetConfig has no image size
        ("audio-spectrogram-transformer", ["input_values"], False),
    ],
)
def test_transformers_inputs(kind, names, assumed):
    transformers = import_module("transformers")
    from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension

    allow_torchvision_without_its_extension()
    with torch.device("meta"):
        module = transformers.AutoModel.from_config(transformers.CONFIG_MAPPING[kind]())
    specs, source = guess_inputs(module)
    assert [spec.name for spec in specs] == names and source.startswith("transformers config")
    assert is_assumed(source) == assumed, source
    _, kwargs = build_inputs(specs, 2, torch.float32)
    with torch.no_grad():
        module.eval()(**kwargs)


def test_roberta_keeps_its_two_unused_positions():
    transformers = import_module("transformers")
    with torch.device("meta"):
        module = transformers.AutoModel.from_config(
            transformers.RobertaConfig(max_position_embeddings=514, num_hidden_layers=1)
        )
    assert guess_inputs(module)[0][0].shape == (512,)
