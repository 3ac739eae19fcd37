"""The `quantization_config` of a Hugging Face config: which linear layers it means, and how their weights are stored.

What libraries do by default is taken from transformers (`utils/quantization_config.py`, `quantizers/`). A format that
is not known here is not guessed: `ValueError` says what was not understood.
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from estimator.base.words import one_line
from estimator.sources.stored import Stored, mark

if TYPE_CHECKING:
    import torch

Settings = Mapping[str, Any]


def _inner(settings: Settings, *keys: str) -> Settings:
    """The mapping inside of `settings` at `keys`; empty where there is none."""
    for key in keys:
        found = settings.get(key)
        settings = found if isinstance(found, dict) else {}
    return settings


def _bits(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 8:
        return value
    raise ValueError(f"weights of {one_line(value, 20)} bits")


def _group(value: object) -> int:
    """Elements a scale; -1, 0 and null mean a whole row."""
    if value is None or value in (-1, 0):
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 2**20:
        return value
    raise ValueError(f"groups of {one_line(value, 20)} elements")


def _bitsandbytes(settings: Settings) -> Stored:
    """8 bits: a float32 scale a row. 4 bits: a float32 a block of 64, in 8 bits and 1/256 float32 where double."""
    if settings.get("load_in_8bit") or settings.get("_load_in_8bit"):
        return Stored("int8", 8, 32)
    if settings.get("load_in_4bit") or settings.get("_load_in_4bit"):
        name = one_line(settings.get("bnb_4bit_quant_type") or "fp4", 20)
        return Stored(name, 4, 8 + 32 / 256 if settings.get("bnb_4bit_use_double_quant") else 32, 64)
    raise ValueError("neither 8 nor 4 bits")


def _packed(settings: Settings) -> Stored:
    """GPTQ and AWQ: a float16 scale and a zero point of the weights' bits a group of 128."""
    bits = _bits(settings.get("bits", settings.get("w_bit", 4)))
    group = _group(settings.get("group_size", settings.get("q_group_size", 128)))
    return Stored(one_line(settings.get("quant_method"), 20), bits, 16 + bits, group)


def _hqq(settings: Settings) -> Stored:
    """A 16-bit scale and a 16-bit zero point a group; settings of single layers are not read."""
    chosen = _inner(settings, "quant_config", "weight_quant_params")
    if not chosen:
        raise ValueError("settings of single layers")
    return Stored("hqq", _bits(chosen.get("nbits", 4)), 32, _group(chosen.get("group_size", 64)))


def _torchao(settings: Settings) -> Stored:
    """A string (`int4_weight_only`), or an object of torchao as {"default": {"_type": ..., "_data": ...}}."""
    quant_type = settings.get("quant_type")
    chosen = _inner(settings, "quant_type", "default")
    name = str(chosen.get("_type", quant_type)).lower().replace("_", "").removesuffix("config")
    own = _inner(chosen, "_data") or _inner(settings, "quant_type_kwargs")
    if name == "int4weightonly":
        return Stored("int4", 4, 32, _group(own.get("group_size", 128)))
    if name in ("int8weightonly", "int8dynamicactivationint8weight"):
        return Stored("int8", 8, 16, _group(own.get("group_size")))
    if name in ("float8weightonly", "float8dynamicactivationfloat8weight"):
        return Stored("float8", 8, 32)
    raise ValueError(f"the type {one_line(chosen.get('_type', quant_type), 40)}")


def _fp8(settings: Settings) -> Stored:
    """A float32 scale a block, such as 128 x 128, or a row."""
    block = settings.get("weight_block_size")
    if block is None:
        return Stored("fp8", 8, 32)
    if not isinstance(block, list) or len(block) != 2:
        raise ValueError(f"blocks of {one_line(block, 20)}")
    return Stored("fp8", 8, 32, _group(block[0]) * _group(block[1]))


def _compressed(settings: Settings) -> Stored:
    """The one group of layers, which is `Linear`; a 16-bit scale a group, and a zero point where not symmetric."""
    groups = list(_inner(settings, "config_groups").values())
    weights = [_inner(group, "weights") for group in groups if isinstance(group, dict)]
    if len(weights) != 1 or not weights[0] or groups[0].get("targets") != ["Linear"]:
        raise ValueError("groups of layers other than all linear ones")
    (chosen,) = weights
    bits = _bits(chosen.get("num_bits", 8))
    name = f"{one_line(chosen.get('type', 'int'), 10)}{bits}"
    zero = 0 if chosen.get("symmetric", True) else bits
    return Stored(name, bits, 16 + zero, _group(chosen.get("group_size")))


def _quanto(settings: Settings) -> Stored:
    """`int8`, `int4`, `int2` or `float8`: a 16-bit scale a row, below 8 bits a scale and a shift a group of 128."""
    name = one_line(settings.get("weights", "int8"), 20)
    bits = _bits(int(name[-1]) if name[-1:].isdigit() else name)
    return Stored(name, bits, 16) if bits == 8 else Stored(name, bits, 32, 128)


METHODS: dict[str, tuple[Callable[[Settings], Stored], str]] = {
    "bitsandbytes": (_bitsandbytes, "llm_int8_skip_modules"),
    "gptq": (_packed, "modules_to_not_convert"),
    "awq": (_packed, "modules_to_not_convert"),
    "hqq": (_hqq, "skip_modules"),
    "torchao": (_torchao, "modules_to_not_convert"),
    "fp8": (_fp8, "modules_to_not_convert"),
    "fbgemm_fp8": (_fp8, "modules_to_not_convert"),
    "compressed-tensors": (_compressed, "ignore"),
    "quanto": (_quanto, "modules_to_not_convert"),
}
"""Of each method: how it stores a weight, and the setting that lists layers which it leaves alone."""

_ADDS_TO_DEFAULTS = frozenset({"gptq", "awq", "hqq"})
"""Methods whose list of skipped layers is beside the defaults and not in their place."""

_MOST_SKIPPED = 4096


def _matches(name: str, pattern: str) -> bool:
    """Whether `pattern`, a part of a dotted path in which `.*` stands for anything, names the layer `name`."""
    glob = pattern.removeprefix("re:").strip("^$").replace("\\.", ".").replace(".*", "*")
    return any(fnmatch.fnmatchcase(name, f"{a}{glob}{b}") for a in ("", "*.") for b in ("", ".*"))


def _left_alone(model: torch.nn.Module, settings: Settings, method: str) -> list[str]:
    """Patterns of the layers that are not quantized: those listed, and by default the head and the last layer."""
    listed = settings.get(METHODS[method][1])
    skipped = [key for key in listed if isinstance(key, str) and key] if isinstance(listed, list) else []
    if len(skipped) > _MOST_SKIPPED:
        raise ValueError(f"a list of {len(skipped):,} layers to leave alone")
    of_diffusers = not hasattr(model, "get_output_embeddings")  # which leaves alone what is listed, and no more
    if of_diffusers or (isinstance(listed, list) and method not in _ADDS_TO_DEFAULTS):
        return skipped
    head = model.get_output_embeddings()  # type: ignore[operator]
    defaults = [name for name, layer in model.named_modules() if layer is head]
    last = [name.rpartition(".")[0] for name, _ in model.named_parameters()][-1:]
    return [*skipped, *defaults, *last]


def apply(model: torch.nn.Module, settings: object) -> tuple[str, ...]:
    """Mark the linear layers of `model` that `settings` quantize; a sentence where it cannot be.

    `model` is one of transformers or diffusers, `settings` its config's `quantization_config`. Layers that share
    their weight with others stay as they are.
    """
    if not isinstance(settings, dict) or not settings:
        return ()
    bitsandbytes = "load_in_4bit" in settings or "load_in_8bit" in settings
    method = one_line(settings.get("quant_method") or ("bitsandbytes" if bitsandbytes else "no name"), 40)
    try:
        if method not in METHODS:
            raise ValueError("a method that is not known here")
        stored = METHODS[method][0](settings)
        skipped = _left_alone(model, settings, method)
    except ValueError as error:
        return (_unpriced(method, str(error)),)
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    found = [
        layer
        for name, layer in model.named_modules()
        if type(layer).__name__ in ("Linear", "Conv1D")
        and uses[id(layer.weight)] == 1
        and not any(_matches(name, pattern) for pattern in skipped)
    ]
    if not found:
        return (_unpriced(method, "the model has no linear layer for it"),)
    for layer in found:
        mark(layer, stored)
    return ()


def _unpriced(method: str, why: str) -> str:
    return (
        f"the config quantizes its weights ({method}), which is not priced ({why}): they are taken in the run's dtype, "
        "so the memory that they take and the bytes read of them are too many"
    )
