"""Which settings of a config reach the library that builds the model: those its architecture has, and no other.

The list is the library's own: what the constructor and the fields of the architecture's settings name. Of these, what
names a file, an address, a checkpoint, weights or a model to be fetched is left out too, so that nothing that a
config names is ever opened.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import CodeType
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line

_BOOKKEEPING = {
    *("architectures", "model_type", "dtype", "torch_dtype", "transformers_version", "_diffusers_version"),
    *("name_or_path", "_name_or_path", "_commit_hash", "_class_name", "quantization_config", "pruned_heads"),
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "_attn_implementation_autoset"),
    *("experts_implementation", "_experts_implementation", "_experts_implementation_internal", "use_cache"),
}
"""What every config carries and no architecture depends on, or what would ask for kernels or number formats."""

_SAID_ELSEWHERE = {"model_type", "architectures"}
_COMMON = {
    *("model_type", "architectures", "num_labels", "id2label", "label2id", "is_decoder", "is_encoder_decoder"),
    *("add_cross_attention", "cross_attention_hidden_size", "tie_word_embeddings", "tie_encoder_decoder"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id"),
    *("chunk_size_feed_forward", "output_hidden_states", "output_attentions", "return_dict", "problem_type"),
    *("backbone", "use_timm_backbone", "use_pretrained_backbone", "backbone_kwargs", "out_features", "out_indices"),
}
_LABELS = {"id2label", "label2id", "label_names"}
_REACHING = re.compile(
    r"(^|_)(paths?|files?|filename|dir|directory|folder|ur[li]s?|address|endpoint|checkpoints?|ckpts?|pretrained|repo"
    r"|repo_id|hub|weights|state_dict|cfg|overlay|kwargs|args|implementation|auto_map|custom_load|tokenizer|module"
    r"|code_revision|revision|token|kernels?_config)$|^(pretrained|hub|remote|trust)_(?!window)|^cache_dir$"
)
_PLAIN_WORD = re.compile(r"[\w .,+-]{0,200}")
_TIMM_NAME = re.compile(r"\w[\w.-]{0,120}")
_TIMM_KEYS = {
    *("features_only", "out_indices", "output_stride", "num_classes", "in_chans", "img_size", "global_pool"),
    *("drop_rate", "drop_path_rate"),
}


@dataclasses.dataclass
class Kept:
    """The settings that reach the library, and the names of those that do not."""

    settings: dict[str, Any]
    dropped: list[str]

    def note(self) -> tuple[str, ...]:
        """One sentence about what was left out, none where nothing was."""
        if not self.dropped:
            return ()
        names = list(dict.fromkeys(one_line(name, 40) for name in self.dropped))
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        return (
            f"settings of config.json that its architecture does not have, or that name files, weights or other "
            f"models, were left out ({', '.join(names[:6])}{more}): nothing that a config names is opened",
        )


def of_transformers(config: Mapping[str, Any]) -> Kept:
    """The settings of a transformers model, whose type is known."""
    from transformers import CONFIG_MAPPING

    dropped: list[str] = []
    return Kept(_settings(config, CONFIG_MAPPING[config["model_type"]], dropped), dropped)


def of_diffusers(config: Mapping[str, Any], cls: type) -> Kept:
    """The settings of the diffusers model `cls`: what its constructor takes."""
    dropped: list[str] = []
    named = set(inspect.signature(cls).parameters) - {"self", "args", "kwargs"}
    return Kept(_of_list(config, named, dropped, lambda key, value: _data(key, value, dropped)), dropped)


def _settings(config: Mapping[str, Any], cls: type, dropped: list[str]) -> dict[str, Any]:
    parts = getattr(cls, "sub_configs", None)
    parts = parts if isinstance(parts, Mapping) else {}

    def inner(key: str, value: Any) -> Any:
        if key == "model_args" and isinstance(value, dict):
            return _of_list(value, _timm_names(config.get("architecture")), dropped, lambda k, v: _data(k, v, dropped))
        if key == "backbone_kwargs" and isinstance(value, dict):
            return _of_list(value, _TIMM_KEYS, dropped, lambda k, v: _data(k, v, dropped))
        if isinstance(value, dict) and key not in _LABELS:
            part = _type_of(value) or parts.get(key)
            if isinstance(part, type) and part.__name__ != "AutoConfig":
                return _settings(value, part, dropped)
        return _data(key, value, dropped)

    kept = _of_list(config, _names_of(cls), dropped, inner)
    _check_backbone(kept)
    if isinstance(config.get("architecture"), str) and cls.__name__.startswith("TimmWrapper"):
        kept["architecture"] = _timm_name(config["architecture"])
    return kept


def _of_list(
    config: Mapping[str, Any], named: set[str], dropped: list[str], inner: Callable[[str, Any], Any]
) -> dict[str, Any]:
    """The items of `config` whose key is among `named` and names nothing to be opened, with `inner` of their values."""
    kept = {}
    for key, value in config.items():
        special = key in ("model_args", "backbone_kwargs", "relative_bias_args")  # whose items are checked one by one
        if key in _BOOKKEEPING - _SAID_ELSEWHERE:
            continue
        if key not in named or (_reaches(key, value) and not special):
            dropped.append(key)
            continue
        item = inner(key, value)
        if item is not _LEFT_OUT:
            kept[key] = item
    return kept


_LEFT_OUT = object()


def _reaches(key: str, value: Any) -> bool:
    """Whether a setting could name what is to be opened or fetched; a number or a switch only could by its key."""
    if key == "pretrained":
        return True
    texts = value if isinstance(value, list) else [value]
    return any(isinstance(text, (str, list, dict)) for text in texts) and _REACHING.search(key) is not None


def _data(key: str, value: Any, dropped: list[str]) -> Any:
    """A value that is data: numbers and plain words; text that looks like a place is left out."""
    if key in _LABELS:
        return value
    if isinstance(value, dict):
        return _of_list(value, set(value), dropped, lambda k, v: _data(k, v, dropped))
    if isinstance(value, list):
        return [item for item in (_data(key, part, dropped) for part in value) if item is not _LEFT_OUT]
    if isinstance(value, str) and key not in ("backbone", "architecture") and not _PLAIN_WORD.fullmatch(value):
        dropped.append(key)
        return _LEFT_OUT
    return value


def _type_of(config: Mapping[str, Any]) -> Any:
    """The class of settings of a nested config that says its own type."""
    from transformers import CONFIG_MAPPING

    known = config.get("model_type")
    return CONFIG_MAPPING[known] if isinstance(known, str) and known in CONFIG_MAPPING else None


@cache
def _names_of(cls: type) -> set[str]:
    """What settings of the class `cls` may be called: its fields, its parameters, and what its own code takes out."""
    names = set(_COMMON)
    for base in cls.__mro__[:-1]:
        if dataclasses.is_dataclass(base):
            names |= {field.name for field in dataclasses.fields(base)}
        tables = (getattr(base, "attribute_map", None), getattr(base, "sub_configs", None))
        names |= {key for table in tables if isinstance(table, Mapping) for key in table}
        for name, member in vars(base).items():
            if isinstance(member, property) and member.fset is not None:
                names.add(name)
            code = getattr(getattr(member, "__func__", member), "__code__", None)
            if isinstance(code, CodeType):
                names |= set(_words_in(code))
                if name == "__init__":
                    names |= set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    return names - {"self", "kwargs", "args"}


def _words_in(code: CodeType) -> Iterator[str]:
    """The identifiers among the constants of a function: what it takes out of settings by name."""
    for constant in code.co_consts:
        for word in constant if isinstance(constant, tuple) else (constant,):
            if isinstance(word, str) and word.isidentifier():
                yield word


def _check_backbone(settings: dict[str, Any]) -> None:
    """A backbone is one of timm's architectures, without its weights; what would be fetched is refused."""
    backbone = settings.get("backbone")
    if "use_pretrained_backbone" in settings:
        settings["use_pretrained_backbone"] = False
    if backbone is None:
        return
    settings["backbone"] = _timm_name(backbone)
    if settings.get("model_type") != "timm_backbone":
        if settings.get("use_timm_backbone") is False:
            raise _not_fetched(backbone)
        settings["use_timm_backbone"] = True
        settings["use_pretrained_backbone"] = False


def _timm_name(name: Any) -> str:
    """`name`, where it is that of an architecture of the installed timm."""
    if not isinstance(name, str) or not _TIMM_NAME.fullmatch(name):
        raise _not_fetched(name)
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ModelFileError("the model is built on one of timm's: install it with `pip install timm`") from error
    if not timm.is_model(name.partition(".")[0]):
        raise _not_fetched(name)
    return name


def _not_fetched(name: Any) -> ModelFileError:
    return ModelFileError(
        f"the config builds on the model {one_line(name, 60)}, which is not downloaded: estimate that model by itself"
    )


def _timm_names(architecture: Any) -> set[str]:
    """What the constructors of a timm architecture take: those of the classes beside its entry point."""
    from torch import nn

    name = _timm_name(architecture or "resnet50")
    models = importlib.import_module("timm.models")
    module = sys.modules[models.model_entrypoint(name.partition(".")[0]).__module__]
    names = set(_TIMM_KEYS)
    for found in vars(module).values():
        if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__ == module.__name__:
            names |= set(inspect.signature(found).parameters)
    return names - {"self", "args", "kwargs", "device", "dtype"}
