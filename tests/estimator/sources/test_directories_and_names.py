"""Hugging Face and diffusers directories, and models by name: built from settings, offline, on meta."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from estimator.sources import load
from estimator.sources.guessing import guess_inputs
from estimator.sources.inputs import build_inputs, is_assumed
from estimator.workload.trace import TraceInputs, trace
from tests.estimator.sources.conftest import refusal

transformers = import_module("transformers")

LLAMA_70B = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "torch_dtype": "bfloat16",
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def connect(*args):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)


def runs(loaded):
    assert all(p.is_meta for p in loaded.module.parameters())
    specs, _ = (loaded.inputs, "") if loaded.inputs else guess_inputs(loaded.module)
    args, kwargs = build_inputs(specs, 2, torch.float32)
    with torch.no_grad():
        return loaded.module.eval()(*args, **kwargs)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "bert", "architectures": ["BertForSequenceClassification"]}, "BertForSequenceClassification"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 2}, "GPT2LMHeadModel"),
        ({"model_type": "llama", "num_hidden_layers": 2, "attn_implementation": "evil/kernel"}, "LlamaModel"),
        ({"model_type": "bert", "architectures": ["os"], "auto_map": {"AutoModel": "evil.Net"}}, "BertModel"),
    ],
)
def test_config_directories(written, config, kind):
    path = written("model/config.json", config)
    loaded = load(path.removesuffix("/config.json"))
    assert (loaded.name, loaded.form, type(loaded.module).__name__) == ("model", "Hugging Face config", kind)
    runs(loaded)


def test_the_config_file_itself_and_the_prefix(written):
    path = written("bert/config.json", {"model_type": "bert"})
    assert load(path).name == "bert"
    assert load("transformers:" + path.removesuffix("/config.json")).name == "bert"


def test_seventy_billion_parameters(written):
    loaded = load(written("llama/config.json", LLAMA_70B))
    assert sum(p.numel() for p in loaded.module.parameters()) == 68_976_648_192
    assert all(p.is_meta for p in loaded.module.parameters())  # of which none was made


def test_a_longformer_runs_as_on_real_tensors(written):
    """Its sliding window is cut out of strided views, and conditions on the mask's values are asked."""
    config = {"model_type": "longformer", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config |= {"intermediate_size": 128, "attention_window": [64, 64], "vocab_size": 100, "pad_token_id": 1}
    net = load(written("longformer/config.json", config)).module
    real = type(net)(net.config).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        real(torch.full((1, 128), 5))
    ids = torch.empty(1, 128, dtype=torch.long, device="meta")
    assert trace(net, TraceInputs((), {"input_ids": ids})).flops == counter.get_total_flops()


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({}, None),
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "float16", "torch_dtype": "float32"}, "float16"),  # what transformers 5 writes, before what 4 wrote
        ({"torch_dtype": "auto", "id2label": {"0": "no"}}, None),
        ({"torch_dtype": ["bfloat16"], "text_config": {"torch_dtype": None}}, None),
        ({"vision_config": {"dtype": "float32"}, "text_config": {"torch_dtype": "bfloat16"}}, "bfloat16"),
    ],
)
def test_the_dtype_of_a_config(written, settings, dtype):
    assert load(written("model/config.json", {"model_type": "bert", "num_hidden_layers": 1, **settings})).dtype == dtype


def test_a_pretrained_backbone_is_not_downloaded(written):
    import_module("timm")
    config = {"model_type": "detr", "backbone": "resnet18", "use_timm_backbone": True, "use_pretrained_backbone": True}
    assert load(written("detr/config.json", config)).form == "Hugging Face config"


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"model_type": "nothing-known"}, "upgrade transformers"),
        ({"no": "settings"}, "no model type"),
        ({"model_type": "bert", "num_hidden_layers": 10**9}, "--limit layers=1G"),
        ({"model_type": "bert", "num_labels": 10**9}, "more than any model has"),
        ({"model_type": "bert", "hidden_size": 7}, "cannot build"),
        ({"model_type": "detr", "backbone": "/etc/passwd"}, "not downloaded"),
        ({"_class_name": "NoSuchModel"}, "upgrade diffusers"),
        ({"_class_name": "DiffusionPipeline"}, "no model DiffusionPipeline"),
    ],
)
def test_configs_that_do_not_build(written, config, word):
    if "_class_name" in config:
        import_module("diffusers")
    assert word in refusal(written("model/config.json", config))


def test_configs_that_do_not_read(written, tmp_path):
    assert "does not read as JSON" in refusal(written("a/config.json", '{"model_type": "be'))
    assert "no settings" in refusal(written("b/config.json", "[1, 2]"))
    assert "no config.json" in refusal(str(tmp_path))


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "UNet2DConditionModel", "sample_size": 32, "cross_attention_dim": 64, "attention_head_dim": 8},
        {"_class_name": "AutoencoderKL"},
    ],
)
def test_diffusers(written, config):
    import_module("diffusers")
    loaded = load(written("unet/config.json", config))
    assert loaded.form == "diffusers config"
    runs(loaded)


UNET = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 16,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}


def test_diffusers_in_a_fresh_process(written):
    """Nothing of these tests has prepared torchvision there."""
    import_module("diffusers")
    path = written("unet/config.json", UNET).removesuffix("/config.json")
    done = subprocess.run(
        [sys.executable, "-m", "estimator.commands", path, "--hardware", "i9-9900k", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["model"]["layer_types"]["Conv2d"] > 10


@pytest.mark.parametrize(
    ("config", "assumed"),
    [
        ({"_class_name": "AutoencoderKL", "sample_size": 64}, False),
        ({"_class_name": "UNet2DModel", "sample_size": 32}, False),
        ({"_class_name": "UNet2DModel"}, True),
        (UNET, True),  # the text's length
    ],
)
def test_what_a_diffusers_config_leaves_open(written, config, assumed):
    import_module("diffusers")
    source = guess_inputs(load(written("unet/config.json", config)).module)[1]
    assert is_assumed(source) == assumed, source


def test_a_pipeline_names_its_parts(written):
    path = written("sd/model_index.json", {"_class_name": "StableDiffusionPipeline"})
    written("sd/unet/config.json", {"_class_name": "UNet2DConditionModel"})
    assert "/unet`" in refusal(path.removesuffix("/model_index.json"))


def test_names():
    import_module("timm")
    assert load("timm:resnet18").inputs[0].shape == (3, 224, 224)
    assert sum(p.numel() for p in load("torchvision:resnet50").module.parameters()) == 25_557_032


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("gpt2", "GPT2LMHeadModel"),
        ("bert", "BertForMaskedLM"),
        ("t5", "T5ForConditionalGeneration"),
        ("whisper", "WhisperForConditionalGeneration"),
        ("vit", "ViTForImageClassification"),
        ("clip", "CLIPModel"),
    ],
)
def test_a_model_type_is_the_model_with_its_head(name, cls):
    loaded = load(f"transformers:{name}")
    assert (type(loaded.module).__name__, loaded.form) == (cls, f"transformers default config of {cls}")
    if name == "gpt2":  # 124,439,808 parameters (Radford et al. 2019, as released); the head is the embedding's
        assert sum(p.numel() for p in loaded.module.parameters()) == 124_439_808


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("timm:resnet5", "resnet50"),
        ("torchvision:resnet5", "resnet50"),
        ("transformers:bert-base-uncased", "nothing is downloaded"),
        ("timm:hf-hub:evil/model", "no model"),
        ("timm:local-dir:.", "no model"),
        ("timm:", "such as `timm:resnet50`"),
        ("torchvision: ", "such as `torchvision:resnet50`"),
        ("transformers:", "`transformers:bert`"),
        ("https://example.org/model.pt", "nothing is downloaded"),
        ("hf://bert", "nothing is downloaded"),
        ("nothing", "`transformers:DIR_OR_TYPE`"),
        ("nothing", "transformers or diffusers"),
    ],
)
def test_unknown_names(name, word):
    assert word in refusal(name)
