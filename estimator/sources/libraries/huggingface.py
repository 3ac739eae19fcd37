"""A Hugging Face directory: the model that its `config.json` describes, without its weights and without its code."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from estimator.base.errors import FOREIGN_ERRORS, ModelFileError
from estimator.base.words import one_line, told
from estimator.sources.loaded import NAME_THE_CODE, LoadedModel

if TYPE_CHECKING:
    import torch

MAX_CONFIG_BYTES = 16 * 2**20
_MAX_COUNT = 20_000
_COUNTS = re.compile(r"(^|_)(layers?|depths?|blocks?|n_layer|num_experts|stages|repeats?)(_|$)")
_DROPPED = {
    *("dtype", "torch_dtype", "auto_map", "quantization_config", "name_or_path", "_name_or_path", "_commit_hash"),
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "pruned_heads"),
    *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
}


def load_directory(directory: Path, *, trust: bool) -> LoadedModel:
    """The model of a directory with a `config.json` of transformers or diffusers."""
    pipeline = directory / "model_index.json"
    config_file = directory / "config.json"
    if not config_file.is_file():
        if pipeline.is_file():
            parts = sorted(path.parent.name for path in directory.glob("*/config.json"))
            raise ModelFileError(
                f"{directory} is a diffusers pipeline of several models: estimate each one, "
                + (" and ".join(f"`estimate {directory / part}`" for part in parts[:4]) or "in its own folder")
            )
        raise ModelFileError(
            f"the directory {directory} has no config.json: give a model file, or a directory that "
            "save_pretrained wrote"
        )
    config = read_config(config_file)
    if "_class_name" in config:
        return LoadedModel(_diffusers_model(config), directory.resolve().name, "diffusers config")
    if trust and "auto_map" in config and not _is_known(config.get("model_type")):
        return LoadedModel(
            _trusted_model(directory, config), directory.resolve().name, "Hugging Face config with its own code"
        )
    return LoadedModel(_transformers_model(config, directory), directory.resolve().name, "Hugging Face config")


def load_model_type(name: str) -> LoadedModel:
    """`transformers:bert`: the default architecture of a model type of transformers."""
    if not _is_known(name):
        near = difflib.get_close_matches(name.rpartition("/")[2].split("-")[0], _model_types(), 3)
        hint = f", or a model type such as {', '.join(near)}" if near else ", or a model type such as bert, gpt2, llama"
        raise ModelFileError(
            f"transformers:{one_line(name, 60)} is neither a directory here nor a model type, and nothing is "
            f"downloaded: give the directory of a downloaded model{hint}"
        )
    return LoadedModel(_transformers_model({"model_type": name}, None), name, "transformers default config")


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a `config.json`, checked for its size and its counts."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelFileError(
                f"{path} is larger than {MAX_CONFIG_BYTES // 2**20} MiB and no config of a model: check the directory"
            )
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(
            f"{path} does not read as JSON ({told(error)}): download or save the model again"
        ) from error
    if not isinstance(config, dict):
        raise ModelFileError(f"{path} holds no settings of a model: give a directory that save_pretrained wrote")
    _check_counts(config, path)
    return config


def _check_counts(config: Any, path: Path) -> None:
    """Refuse counts of layers and labels that would keep Python busy for ever."""
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, dict):
            _check_counts(value, path)
        limit = 10_000_000 if key == "num_labels" else _MAX_COUNT
        numbers = value if isinstance(value, list) else [value]
        counted = key == "num_labels" or _COUNTS.search(key)
        if counted and any(isinstance(n, (int, float)) and n > limit for n in numbers):
            raise ModelFileError(
                f"{path} claims {one_line(value, 40)} for {one_line(key, 40)}, more than any model has: check the file"
            )


def _prepared(config: Any) -> Any:
    """`config` without what would reach for code, kernels, weights or number formats of its own, at any depth."""
    if isinstance(config, list):
        return [_prepared(item) for item in config]
    if not isinstance(config, dict):
        return config
    kept = {key: _prepared(value) for key, value in config.items() if key not in _DROPPED}
    if "use_pretrained_backbone" in kept:
        kept["use_pretrained_backbone"] = False
    backbone = kept.get("backbone")
    if isinstance(backbone, str) and not re.fullmatch(r"\w[\w.-]*", backbone):
        raise ModelFileError(
            f"the config builds on the model {one_line(backbone, 60)}, which is not downloaded: estimate that model "
            "by itself"
        )
    return kept


def _model_types() -> list[str]:
    try:
        from transformers import CONFIG_MAPPING
    except ImportError as error:
        raise ModelFileError(
            f"reading a Hugging Face model needs transformers ({told(error)}): `pip install transformers`"
        ) from None
    return list(CONFIG_MAPPING.keys())


def _is_known(model_type: object) -> bool:
    return isinstance(model_type, str) and model_type in _model_types()


def _transformers_model(config: dict[str, Any], directory: Path | None) -> torch.nn.Module:
    model_type = config.get("model_type")
    if not _is_known(model_type):
        if "auto_map" in config:
            raise ModelFileError(
                f"the model in {directory} is built by Python code of its own (auto_map), which is not run: "
                "read that code, and if you trust it say `--trust`"
            )
        near = difflib.get_close_matches(str(model_type), _model_types(), 3)
        raise ModelFileError(
            f"the installed transformers has no model type {one_line(model_type, 40)}"
            + (f" (nearest: {', '.join(near)})" if near else "")
            + f": upgrade transformers, or {NAME_THE_CODE}"
        )
    from estimator.sources.building import offline_and_quiet, on_meta, to_meta
    from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension

    allow_torchvision_without_its_extension()
    try:
        with offline_and_quiet():
            from transformers import CONFIG_MAPPING

            settings = CONFIG_MAPPING[model_type].from_dict(_prepared(config))
            cls = _architecture(config, settings)
            return to_meta(on_meta(lambda: _build(cls, settings)))
    except FOREIGN_ERRORS as error:
        raise ModelFileError(
            f"transformers cannot build the {one_line(model_type, 40)} model of this config ({told(error)}): check "
            "config.json and the version of transformers"
        ) from error


def _architecture(config: dict[str, Any], settings: Any) -> Any:
    """The class that the config names, else the plain model of its type."""
    import transformers

    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
    if name is not None and name.isidentifier():
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    tasks = (transformers.MODEL_MAPPING, transformers.MODEL_FOR_CAUSAL_LM_MAPPING)  # some types have only the second
    found = next(task[type(settings)] for task in tasks if type(settings) in task or task is tasks[-1])
    return found[0] if isinstance(found, (tuple, list)) else found


def _build(cls: Any, settings: Any) -> torch.nn.Module:
    """One model, with torch's fused attention where the architecture has it."""
    import torch

    try:
        model = cls._from_config(settings, attn_implementation="sdpa", dtype=torch.float32)
    except (ValueError, TypeError):
        model = cls._from_config(settings, attn_implementation="eager", dtype=torch.float32)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"{cls.__name__} is no torch.nn.Module")
    return model


def _trusted_model(directory: Path, config: dict[str, Any]) -> torch.nn.Module:
    """A model built by the directory's own code: only under `--trust`."""
    from estimator.sources.building import offline_and_quiet, on_meta, to_meta

    try:
        with offline_and_quiet():
            import transformers

            auto_map = config["auto_map"]
            keys = [key for key in auto_map if key.startswith("AutoModel")]
            auto = getattr(transformers, next(iter(keys), "AutoModel"))
            settings = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=True, local_files_only=True)
            model = on_meta(lambda: auto.from_config(settings, trust_remote_code=True))
    except FOREIGN_ERRORS as error:
        raise ModelFileError(
            f"the code in {directory} cannot build its model ({told(error)}): correct it there"
        ) from error
    found: torch.nn.Module = to_meta(model)
    return found


def _diffusers_model(config: dict[str, Any]) -> torch.nn.Module:
    from estimator.sources.building import offline_and_quiet, on_meta, to_meta
    from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension

    name = config["_class_name"]
    allow_torchvision_without_its_extension()
    try:
        with offline_and_quiet():
            import diffusers
    except (ImportError, RuntimeError) as error:
        raise ModelFileError(
            f"reading a diffusers model needs diffusers ({told(error)}): `pip install diffusers`"
        ) from None
    try:
        with offline_and_quiet():
            cls: Any = getattr(diffusers, name, None) if isinstance(name, str) and name.isidentifier() else None
            if not isinstance(cls, type) or diffusers.ModelMixin not in cls.__mro__:
                raise ModelFileError(
                    f"the installed diffusers has no model {one_line(name, 60)}: upgrade diffusers, or {NAME_THE_CODE}"
                )
            model: torch.nn.Module = on_meta(lambda: cls.from_config(_prepared(config)))  # type: ignore[attr-defined]
            return to_meta(model)
    except FOREIGN_ERRORS as error:
        raise ModelFileError(
            f"diffusers cannot build {one_line(name, 60)} from this config ({told(error)}): check config.json and "
            "the version of diffusers"
        ) from error
