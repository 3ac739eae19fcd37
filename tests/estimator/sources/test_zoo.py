"""Architectures of timm, transformers and diffusers: our forward FLOPs are those of torch's `FlopCounterMode`."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from estimator.sources import load
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from estimator.workload.trace import TraceInputs, trace
from tests.estimator.tracing import meta


def _tiny(**more):
    return {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, **more}


def _transformers(name):
    allow_torchvision_without_its_extension()  # which transformers imports
    import transformers

    ids = {"input_ids": meta(2, 16, dtype=torch.long)}
    both = {**ids, "decoder_input_ids": meta(2, 16, dtype=torch.long)}
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    special = {"pad_token_id": 0, **ends}
    t5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100}
    whisper = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "vocab_size": 100}
    whisper |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_mel_bins": 16}
    whisper |= {"max_source_positions": 50, "decoder_start_token_id": 1, **special}
    image = {"image_size": 32, "patch_size": 8}
    clip = {"text_config": _tiny(vocab_size=100, **special), "vision_config": _tiny(**image), "projection_dim": 32}
    model, config, inputs = {
        "BertForMaskedLM": ("Bert", _tiny(vocab_size=100), ids),
        "GPT2LMHeadModel": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100, **ends}, ids),
        "LlamaForCausalLM": ("Llama", _tiny(vocab_size=100, num_key_value_heads=2), ids),
        "T5ForConditionalGeneration": ("T5", t5, both),
        "ViTForImageClassification": ("ViT", _tiny(**image), {"pixel_values": meta(2, 3, 32, 32)}),
        "WhisperForConditionalGeneration": (
            "Whisper",
            whisper,
            {"input_features": meta(2, 16, 100), "decoder_input_ids": ids["input_ids"]},
        ),
        "CLIPModel": ("CLIP", clip, {**ids, "pixel_values": meta(2, 3, 32, 32)}),
        "MambaForCausalLM": ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 100}, ids),
    }[name]
    return getattr(transformers, name)(getattr(transformers, f"{model}Config")(**config)), (), inputs


def _unet():
    allow_torchvision_without_its_extension()
    import diffusers

    sizes = {"sample_size": 16, "block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8}
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    net = diffusers.UNet2DConditionModel(**sizes, **blocks, cross_attention_dim=32, attention_head_dim=8)
    return net, (meta(2, 4, 16, 16), meta(2, dtype=torch.long), meta(2, 7, 32)), {}


VISION = {
    "mobilenetv3_small_100": 64,
    "efficientnet_b0": 64,
    "convnext_atto": 64,
    "densenet121": 64,
    "ghostnet_100": 64,
    "mixer_s32_224": 224,
    "vit_tiny_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224,
    "coat_lite_tiny": 224,
    "mobilevit_xxs": 64,
    "xcit_nano_12_p16_224": 224,
    "levit_128s": 224,
}
LANGUAGE = (
    "BertForMaskedLM",
    "GPT2LMHeadModel",
    "LlamaForCausalLM",
    "T5ForConditionalGeneration",
    "ViTForImageClassification",
    "WhisperForConditionalGeneration",
    "CLIPModel",
    "MambaForCausalLM",
)


@pytest.mark.parametrize("name", [*VISION, *LANGUAGE, "UNet"])
def test_zoo(name):
    if name in VISION:
        size = VISION[name]
        net, args, kwargs = load(f"timm:{name}").module, (meta(2, 3, size, size),), {}
    else:
        with torch.device("meta"):
            net, args, kwargs = _unet() if name == "UNet" else _transformers(name)
    inputs = TraceInputs(args, kwargs, 2)
    inference, training = trace(net, inputs), trace(net, inputs, optimizer="adamw")
    net.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*args, **kwargs)
    assert inference.flops == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert not inference.uncovered_ops
    assert not training.uncovered_ops
    assert not training.guesses
    # every product has two gradients, attention is recomputed, the first layer's input has none
    assert 1.7 < training.flops_of(phase="backward") / training.flops_of(phase="forward") < 2.3
    trained = {op.layer for op in training.of_phase("optimizer")}
    assert trained == {n.rpartition(".")[0] for n, p in net.named_parameters() if p.requires_grad}
    assert all(op.layer_type for op in training.of_phase("forward") if op.name != "ones_like")
