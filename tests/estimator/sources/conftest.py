"""Model files as their libraries write them, small, and built on the meta device."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from estimator.base.errors import ModelFileError
from estimator.sources import load
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension

allow_torchvision_without_its_extension()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """Writes an object with `torch.save` and gives the path."""

    def save(value: Any, name: str = "model.pt", **how: Any) -> str:
        path = tmp_path / name
        torch.save(value, path, **how)
        return str(path)

    return save


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    """Writes bytes or text, or JSON for a dict, and gives the path; missing folders are made."""

    def write(name: str, content: bytes | str | dict[str, Any]) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content) if isinstance(content, dict) else content
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., str]:
    """Writes a `.pt2` and gives the path; the batch is dynamic unless `dynamic` is False."""

    def export(module: torch.nn.Module, *args: torch.Tensor, dynamic: bool = True, **kwargs: torch.Tensor) -> str:
        batch = torch.export.Dim("batch", min=1, max=4096)
        shapes = ({0: batch},) * len(args) if args else {name: {0: batch} for name in kwargs}
        program = torch.export.export(module.eval(), args, kwargs, dynamic_shapes=shapes if dynamic else None)
        path = tmp_path / "model.pt2"
        torch.export.save(program, path)
        return str(path)

    return export


def refusal(spec: str, **how: Any) -> str:
    """The sentence with which `spec` is refused."""
    with pytest.raises(ModelFileError) as caught:
        load(spec, **how)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message
