"""A TorchScript archive, whose code runs as soon as it is loaded: only under `--trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from estimator.base.errors import ModelFileError
from estimator.sources.building import foreign_code
from estimator.sources.loaded import EXPORT_LINE, LoadedModel


class ScriptedModule(torch.nn.Module):
    """A scripted module behind a plain one, so that its parameters can be replaced as those of any module.

    Parameters and buffers have their original names; the layers inside are not told apart while it runs.
    """

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self._script = [script]  # in a list: not a submodule, whose tensors would be counted twice
        self._holders: dict[str, Any] = dict(script.named_modules())
        self._names: list[str] = []
        for name, parameter in script.named_parameters(remove_duplicate=False):
            owner, leaf = self._owner(name)
            owner.register_parameter(leaf, torch.nn.Parameter(parameter.detach(), parameter.requires_grad))
            self._names.append(name)
        for name, buffer in script.named_buffers(remove_duplicate=False):
            owner, leaf = self._owner(name)
            owner.register_buffer(leaf, buffer)
            self._names.append(name)

    def _owner(self, name: str) -> tuple[torch.nn.Module, str]:
        """The (empty) submodule that holds the tensor `name`, and the last part of the name."""
        *path, leaf = name.split(".")
        owner: torch.nn.Module = self
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, torch.nn.Module())
            owner = owner.get_submodule(part)
        return owner, leaf

    def train(self, mode: bool = True) -> ScriptedModule:
        """Switch the script itself as well."""
        super().train(mode)
        self._script[0].train(mode)
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the script on this module's present parameters, op by op as written (not fused, not specialized)."""
        script = self._script[0]
        for name in self._names:
            owner, leaf = self._owner(name)
            self._holders[name.rpartition(".")[0]]._c.setattr(leaf, getattr(owner, leaf))
        for path, holder in self._holders.items():
            if holder._c.hasattr("_flat_weights"):  # an RNN keeps its weights in a list of its own
                weights = [
                    getattr(self.get_submodule(path), name) for name, _ in holder.named_parameters(recurse=False)
                ]
                holder._c.setattr("_flat_weights", weights)
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return script(*args, **kwargs)


def load_torchscript(path: Path, *, trust: bool) -> LoadedModel:
    """The scripted module on the meta device."""
    if not trust:
        raise ModelFileError(
            f"{path.name} is a TorchScript archive, whose code runs as soon as it is loaded: save the model as data "
            f"with `{EXPORT_LINE}`, or say `--trust` if you made the file yourself"
        )
    with foreign_code(lambda why: f"torch cannot load the TorchScript archive {path.name} ({why}): save it again"):
        script = torch.jit.load(str(path), map_location="meta")  # type: ignore[no-untyped-call]
    module = ScriptedModule(script)
    return LoadedModel(module, path.stem, "TorchScript")
