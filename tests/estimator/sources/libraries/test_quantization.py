"""Configs of Hugging Face that quantize their weights: bytes by hand arithmetic, FLOPs as without."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from estimator import Scenario, estimate
from estimator.sources import load
from estimator.sources.stored import stored_as
from estimator.workload.kernels.stored_weights import spared_bytes
from estimator.workload.trace import TraceInputs, trace

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2}
LLAMA |= {"intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 100}
LLAMA |= {"torch_dtype": "bfloat16", "tie_word_embeddings": False}

ELEMENTS = 2 * (4 * 64 * 64 + 3 * 64 * 128)  # q, k, v, o; gate, up, down
ROWS = 2 * (4 * 64 + 2 * 128 + 64)

NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
INT4 = {"_type": "Int4WeightOnlyConfig", "_version": 1, "_data": {"group_size": 32}}
PACKED = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
COMPRESSED = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": PACKED}}, "ignore": ["lm_head"]}

METHODS = [
    (NF4, ELEMENTS / 2 + ELEMENTS / 64 * 4),  # a float32 a block of 64: half a bit an element (QLoRA, section 3)
    (NF4 | {"bnb_4bit_use_double_quant": True}, ELEMENTS / 2 + ELEMENTS / 64 * (1 + 4 / 256)),  # 0.127 bits there
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, ELEMENTS + 4 * ROWS),
    ({"load_in_8bit": True}, ELEMENTS + 4 * ROWS),  # what old releases wrote
    ({"quant_method": "gptq", "bits": 4, "group_size": 32}, ELEMENTS / 2 + ELEMENTS / 32 * 2.5),
    ({"quant_method": "gptq", "bits": 8, "group_size": -1}, ELEMENTS + ROWS * 3),
    ({"quant_method": "awq", "bits": 4, "group_size": 64}, ELEMENTS / 2 + ELEMENTS / 64 * 2.5),
    (
        {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}},
        ELEMENTS / 2 + ELEMENTS / 64 * 4,
    ),
    ({"quant_method": "torchao", "quant_type": {"default": INT4}}, ELEMENTS / 2 + ELEMENTS / 32 * 4),
    ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, ELEMENTS + 2 * ROWS),
    ({"quant_method": "fp8", "weight_block_size": [64, 64]}, ELEMENTS + ELEMENTS / 4096 * 4),
    ({"quant_method": "compressed-tensors", **COMPRESSED}, ELEMENTS / 2 + ELEMENTS / 32 * 2),
    ({"quant_method": "quanto", "weights": "int8"}, ELEMENTS + 2 * ROWS),
]


def _forward(module):
    ids = torch.empty(1, 8, dtype=torch.long, device="meta")
    return trace(module, TraceInputs((), {"input_ids": ids}), dtype="bfloat16")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "config.json"
    path.write_text(json.dumps(LLAMA))
    return _forward(load(str(path)).module)


@pytest.mark.parametrize(("settings", "stored"), METHODS, ids=lambda value: str(value)[:60])
def test_weights_are_read_in_their_own_bytes(written, plain, settings, stored):
    loaded = load(written("q/config.json", LLAMA | {"quantization_config": settings}))
    found = _forward(loaded.module)
    assert loaded.notes == () and found.flops == plain.flops
    spared = 2 * ELEMENTS - stored  # bfloat16 against what is stored
    assert sum(op.bytes_read for op in plain.ops) - sum(op.bytes_read for op in found.ops) == pytest.approx(spared)
    assert spared_bytes(loaded.module, 2) == pytest.approx(spared)
    assert sum(stored_as(layer) is not None for layer in loaded.module.modules()) == 14
    assert stored_as(loaded.module.lm_head) is None


def test_the_answer_says_so(written):
    path = written("q/config.json", LLAMA | {"quantization_config": NF4})
    found = estimate(path, Scenario(inputs=("tokens:8",), hardware="A100-SXM4-40GB"))
    (said,) = (line for line in found.assumptions if line.name == "weights")
    assert said.value == "4-bit (nf4) in 14 layers"
    assert "4/16 of their bfloat16 bytes" in said.source and "products in bfloat16" in said.source
    assert found.model.parameters - found.model.trainable_parameters == ELEMENTS  # quantized weights are not trained


def test_a_training_step_reads_them_twice(written):
    """Forward, and for the input's gradient; no gradient of a quantized weight is computed."""
    module = load(written("q/config.json", LLAMA | {"quantization_config": NF4})).module
    ids = torch.empty(1, 8, dtype=torch.long, device="meta")
    step = trace(module, TraceInputs((), {"input_ids": ids}), dtype="bfloat16", optimizer="sgd")
    up = [op for op in step.ops if op.layer == "model.layers.1.mlp.up_proj" and op.kind == "matmul"]
    assert [op.phase for op in up] == ["forward", "backward"]
    stored = 64 * 128 / 2 + 64 * 128 / 64 * 4
    assert [op.bytes_read for op in up] == [2 * 8 * 64 + stored, 2 * 8 * 128 + stored]


@pytest.mark.parametrize(
    ("skipping", "left"),
    [
        ({"llm_int8_skip_modules": ["down_proj"]}, 13),  # and the head is no more left alone
        ({"llm_int8_skip_modules": ["lm_head", "model.layers.1"]}, 7),
        ({"llm_int8_skip_modules": ["lm_head", "re:.*mlp.*"]}, 8),
        ({"llm_int8_skip_modules": ["lm_head", "layers.1.mlp", "gate"]}, 11),  # "gate" is no part of a path
    ],
)
def test_layers_that_a_config_leaves_alone(written, skipping, left):
    module = load(written("q/config.json", LLAMA | {"quantization_config": NF4 | skipping})).module
    assert sum(stored_as(layer) is not None for layer in module.modules()) == left


def test_the_layers_of_gpt2(written):
    """Its linear layers are `Conv1D`, (inputs, outputs); the head shares the embedding's weight and stays."""
    config = {"model_type": "gpt2", "n_embd": 64, "n_layer": 1, "n_head": 4, "vocab_size": 100}
    config |= {"architectures": ["GPT2LMHeadModel"], "quantization_config": {"load_in_8bit": True}}
    module = load(written("g/config.json", config)).module
    elements, outputs = 64 * (192 + 64 + 256 + 256), 192 + 64 + 256 + 64
    assert spared_bytes(module, 4) == 4 * elements - elements - 4 * outputs


def test_a_model_of_diffusers(written):
    pytest.importorskip("diffusers")
    config = {"_class_name": "PriorTransformer", "num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8}
    config |= {"embedding_dim": 16, "quantization_config": NF4 | {"llm_int8_skip_modules": ["proj_in"]}}
    module = load(written("prior/config.json", config)).module
    linear = {name for name, layer in module.named_modules() if isinstance(layer, torch.nn.Linear)}
    assert {name for name in linear if stored_as(module.get_submodule(name)) is None} == {"proj_in"}


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "aqlm"},
        {"quant_method": ["gptq"]},
        {"bits": 4},
        {"quant_method": "gptq", "bits": "four"},
        {"quant_method": "gptq", "bits": 4, "group_size": -7},
        {"quant_method": "fp8", "weight_block_size": [128]},
        {"quant_method": "torchao", "quant_type": {"default": None}},
        {"quant_method": "compressed-tensors", "config_groups": [1]},
        {"quant_method": "hqq", "quant_config": {"self_attn.q_proj": {}}},
        {"quant_method": "quanto", "weights": "odd"},
        {"quant_method": "gptq", "bits": 4, "modules_to_not_convert": ["a"] * 5000},
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_cannot_be_priced_is_one_sentence(written, plain, settings):
    loaded = load(written("q/config.json", LLAMA | {"quantization_config": settings}))
    (note,) = loaded.notes
    assert "not priced" in note and "too many" in note and "\n" not in note
    assert _forward(loaded.module).ops == plain.ops


def test_an_op_changes_in_its_bytes_alone(written, plain):
    found = _forward(load(written("q/config.json", LLAMA | {"quantization_config": NF4})).module)
    for before, after in zip(plain.ops, found.ops, strict=True):
        assert dataclasses.replace(after, bytes_read=before.bytes_read) == before
