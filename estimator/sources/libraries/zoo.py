"""Models by name from an installed library: `timm:resnet50`, `torchvision:resnet50`. Nothing is downloaded."""

from __future__ import annotations

import difflib
import importlib
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import torch

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.building import foreign_code, on_meta, to_meta
from estimator.sources.inputs import InputSpec
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from estimator.sources.loaded import LoadedModel


def load_timm(name: str) -> LoadedModel:
    """`timm:NAME`, with the input size that timm gives for it."""
    timm = _library("timm")
    plain = name.partition(".")[0]
    with _asked("timm"):
        known = [] if timm.is_model(plain) else timm.list_models()
    if known:
        raise _unknown("timm", name, known)
    module = _built(f"timm:{name}", lambda: timm.create_model(name, pretrained=False))
    settings = getattr(module, "pretrained_cfg", None) or {}
    size = settings.get("input_size") if isinstance(settings, dict) else None
    specs = (InputSpec(tuple(size)),) if size else None
    return LoadedModel(module, name, "timm", specs, "timm pretrained_cfg" if specs else "")


def load_torchvision(name: str) -> LoadedModel:
    """`torchvision:NAME`, without weights."""
    _library("torchvision")
    models = _library("torchvision.models")
    with _asked("torchvision"):
        known, home = models.list_models(), ""
        if name in known:
            home = models.get_model_builder(name).__module__
    if not home:
        raise _unknown("torchvision", name, known)
    settings: dict[str, Any] = {"weights": None}
    if home.startswith(("torchvision.models.detection", "torchvision.models.segmentation")):
        settings["weights_backbone"] = None
    module = _built(f"torchvision:{name}", lambda: models.get_model(name, **settings))
    return LoadedModel(module, name, "torchvision")


def _library(package: str) -> ModuleType:
    allow_torchvision_without_its_extension()
    with _asked(package):
        try:
            return importlib.import_module(package)
        except ModuleNotFoundError as error:
            if error.name == package:
                raise ModelFileError(
                    f"{package}:NAME needs {package}: install it with `pip install {package}`"
                ) from None
            raise


def _asked(package: str) -> AbstractContextManager[None]:
    """While active, what `package` raises says that its installation is at fault."""
    return foreign_code(lambda why: f"{package} cannot be imported ({why}): mend its installation")


def _unknown(package: str, name: str, known: list[str]) -> ModelFileError:
    near = difflib.get_close_matches(name, known, 4, 0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"list its models with {package}'s list_models()"
    return ModelFileError(f"{package} has no model {one_line(name, 60)}: {hint}")


def _built(name: str, make: Any) -> torch.nn.Module:
    with foreign_code(lambda why: f"{name} cannot be built ({why}): try another version of its library"):
        module: torch.nn.Module = to_meta(on_meta(make))
    return module
