"""A Hugging Face directory: the model that its `config.json` describes, without its weights and without its code."""

from __future__ import annotations

import difflib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from estimator.base.errors import ModelFileError
from estimator.base.reading import read_json
from estimator.base.words import one_line, told
from estimator.sources.libraries import config_bounds, picture_sizes, quantization
from estimator.sources.libraries.library_inputs import with_pictures_of
from estimator.sources.loaded import NAME_THE_CODE, LoadedModel
from estimator.sources.weight_files import no_config

if TYPE_CHECKING:
    import torch

_TASKS = (
    *("SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ", "MASKED_LM", "IMAGE_TEXT_TO_TEXT", "CAUSAL_LM"),
    *("ZERO_SHOT_IMAGE_CLASSIFICATION", "IMAGE_CLASSIFICATION", "OBJECT_DETECTION", "VIDEO_CLASSIFICATION"),
    *("UNIVERSAL_SEGMENTATION", "SEMANTIC_SEGMENTATION", "DEPTH_ESTIMATION", "CTC", "AUDIO_CLASSIFICATION"),
    *("SEQUENCE_CLASSIFICATION",),
)
"""transformers' tables of models with a head, those first that their types are made for: bert has a causal head too."""

MAX_CONFIG_BYTES = 16 * 2**20


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
        raise no_config(directory)
    config = read_config(config_file)
    dtype = _dtype_in(config)
    if "_class_name" in config:
        module, notes = _diffusers_model(config)
        notes += quantization.apply(module, config.get("quantization_config"))
        return LoadedModel(module, directory.resolve().name, "diffusers config", notes=notes, dtype=dtype)
    if trust and "auto_map" in config and not _is_known(config.get("model_type")):
        module, form = _trusted_model(directory, config), "Hugging Face config with its own code"
        notes = quantization.apply(module, config.get("quantization_config"))
        return LoadedModel(module, directory.resolve().name, form, notes=notes, dtype=dtype)
    module, notes = _transformers_model(config, directory)
    notes += quantization.apply(module, config.get("quantization_config"))
    size = picture_sizes.in_directory(directory)
    found = with_pictures_of(module, size, "preprocessor_config.json") if size else None
    specs, told = found or (None, "")
    return LoadedModel(module, directory.resolve().name, "Hugging Face config", specs, told, notes=notes, dtype=dtype)


def load_model_type(name: str) -> LoadedModel:
    """`transformers:bert`: a model type of transformers by default, with the head of its usual task."""
    if not _is_known(name):
        near = difflib.get_close_matches(name.rpartition("/")[2].split("-")[0], _model_types(), 3)
        hint = f", or a model type such as {', '.join(near)}" if near else ", or a model type such as bert, gpt2, llama"
        raise ModelFileError(
            f"transformers:{one_line(name, 60)} is neither a directory here nor a model type, and nothing is "
            f"downloaded: give the directory of a downloaded model{hint}"
        )
    module, _ = _transformers_model({"model_type": name}, None)
    return LoadedModel(module, name, f"transformers default config of {type(module).__name__}")


def of_settings(config: dict[str, Any]) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """The model of a `config.json` of transformers or diffusers that is at hand, and what was left out of it."""
    return _diffusers_model(config) if "_class_name" in config else _transformers_model(config, None)


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a `config.json`, checked for its size and its counts."""
    try:
        config = read_json(path, MAX_CONFIG_BYTES)
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read ({error.strerror or told(error)}): give the directory of a model, with its "
            "config.json"
        ) from error
    except ValueError as error:
        raise ModelFileError(
            f"{path} does not read as JSON ({told(error)}): download or save the model again"
        ) from error
    if not isinstance(config, dict):
        raise ModelFileError(f"{path} holds no settings of a model: give a directory that save_pretrained wrote")
    config_bounds.check(config, str(path))
    return config


def _dtype_in(config: dict[str, Any]) -> str | None:
    """The dtype that a config names, else the one that a part of it names, its text's first; None where none does."""
    parts = sorted((key for key, value in config.items() if isinstance(value, dict)), key=lambda k: k != "text_config")
    for settings in (config, *(config[key] for key in parts)):
        for key in ("dtype", "torch_dtype"):
            name = settings.get(key)
            if isinstance(name, str) and name.strip() not in ("", "auto"):
                return one_line(name, 40)
    return None


def _model_types() -> list[str]:
    try:
        from transformers import CONFIG_MAPPING
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelFileError(
            f"reading a Hugging Face model needs transformers ({told(error)}): `pip install transformers`"
        ) from None
    return list(CONFIG_MAPPING.keys())


def _is_known(model_type: object) -> bool:
    return isinstance(model_type, str) and model_type in _model_types()


def _transformers_model(config: dict[str, Any], directory: Path | None) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """The model, and what was left out of its config."""
    model_type = config.get("model_type")
    if not _is_known(model_type):
        if "auto_map" in config:
            raise ModelFileError(
                f"the model in {directory} is built by Python code of its own (auto_map), which is not run: "
                "read that code, and if you trust it say `--trust`"
            )
        if model_type is None and isinstance(config.get("architecture"), str):
            raise ModelFileError(
                f"the config in {directory} is one of timm: give the model's name, "
                f"`estimate timm:{one_line(config['architecture'], 60)}`"
            )
        near = difflib.get_close_matches(str(model_type), _model_types(), 3)
        raise ModelFileError(
            f"the installed transformers has no model type {one_line(model_type, 40)}"
            + (f" (nearest: {', '.join(near)})" if near else "")
            + f": upgrade transformers, or {NAME_THE_CODE}"
        )
    from estimator.sources.building import foreign_code, on_meta, to_meta
    from estimator.sources.libraries import config_keys
    from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension

    allow_torchvision_without_its_extension()
    with foreign_code(
        lambda why: (
            f"transformers cannot build the {one_line(model_type, 40)} model of this config ({why}): check "
            "config.json and the version of transformers"
        )
    ):
        from transformers import CONFIG_MAPPING

        kept = config_keys.of_transformers(config)
        settings = CONFIG_MAPPING[model_type].from_dict(kept.settings)
        cls = _architecture(config, settings, with_head=directory is None)
        return to_meta(on_meta(lambda: _build(cls, settings))), kept.note()


def _architecture(config: dict[str, Any], settings: Any, *, with_head: bool) -> Any:
    """The class that the config names, else that of the first task that its type has, else the plain model."""
    import transformers

    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
    if name is not None and name.isidentifier():
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    names = ("MODEL_MAPPING", "MODEL_FOR_CAUSAL_LM_MAPPING")  # some types have only the second
    names = (*(f"MODEL_FOR_{task}_MAPPING" for task in _TASKS), *names) if with_head else names
    tasks = [getattr(transformers, name) for name in names if hasattr(transformers, name)]
    found = next((task[type(settings)] for task in tasks if type(settings) in task), None)
    if found is None:
        raise LookupError("no task has a model of this type")
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
    from estimator.sources.building import foreign_code, on_meta, to_meta

    with foreign_code(lambda why: f"the code in {directory} cannot build its model ({why}): correct it there"):
        import transformers

        auto_map = config["auto_map"]
        keys = [key for key in auto_map if key.startswith("AutoModel")]
        auto = getattr(transformers, next(iter(keys), "AutoModel"))
        settings = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=True, local_files_only=True)
        found: torch.nn.Module = to_meta(on_meta(lambda: auto.from_config(settings, trust_remote_code=True)))
    return found


def _diffusers_model(config: dict[str, Any]) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """The model, and what was left out of its config."""
    from estimator.sources.building import foreign_code, offline_and_quiet, on_meta, to_meta
    from estimator.sources.libraries import config_keys
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
    with foreign_code(
        lambda why: (
            f"diffusers cannot build {one_line(name, 60)} from this config ({why}): check config.json and the version "
            "of diffusers"
        )
    ):
        cls: Any = getattr(diffusers, name, None) if isinstance(name, str) and name.isidentifier() else None
        if not isinstance(cls, type) or diffusers.ModelMixin not in cls.__mro__:
            raise ModelFileError(
                f"the installed diffusers has no model {one_line(name, 60)}: upgrade diffusers, or {NAME_THE_CODE}"
            )
        kept = config_keys.of_diffusers(config, cls)
        build = partial(cls.from_config, kept.settings)  # type: ignore[attr-defined]
        return to_meta(on_meta(build)), kept.note()
