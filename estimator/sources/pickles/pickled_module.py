"""A pickled `nn.Module`, built again on the meta device from the records of `pickle_data`, without running it.

Layers are created without their constructors and get the attributes that the file lists; tensors keep their
shape and have no bytes. Attributes that could run at the wrong moment (hooks, methods replaced on one object)
are refused, and what is not needed for shapes (classes and partial functions kept as attributes) becomes inert.
"""

from __future__ import annotations

import enum
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from estimator.base import budget
from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.choosing import choose, held_models, is_setting, listed
from estimator.sources.libraries import config_bounds
from estimator.sources.loaded import EXPORT_LINE, NAME_THE_CODE
from estimator.sources.pickles import allowed, contents
from estimator.sources.pickles.pickle_data import Global, Made, PickleProgram
from estimator.sources.pickles.pickled_quantized import layer_of
from estimator.sources.pickles.pickled_tensors import data_of
from estimator.sources.pickles.weights import no_module_message, weights_of
from estimator.sources.quantized_layers import is_quantized

if TYPE_CHECKING:
    import torch

_UNUSED_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_HOOKS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")


class Inert:
    """Stands for a class or partial function that a layer keeps and its forward does not need."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Refuse to stand in for a call."""
        raise ModelFileError(f"the model calls {self._name}, which is not built from a file: {NAME_THE_CODE}")

    def __repr__(self) -> str:
        return f"<{self._name}>"


def module_of(program: PickleProgram, spec: str, wanted: str = "") -> tuple[torch.nn.Module, str, tuple[str, ...]]:
    """The module that a pickle describes, where in it that stands ("" for all of it), and notes on what was left out.

    `wanted` is where the module that is meant stands, "" for the only one; `spec` is what errors call the file. Raises
    `ModelFileError` where the pickle holds no module, or several, or more than a module.
    """
    import torch

    from estimator.sources.building import foreign_code

    allowed.check_names(program.globals)
    parts = held_models(program.value, contents.part_of, contents.items_of)
    if not parts:
        if isinstance(program.value, Made) and not program.value.called:
            allowed.resolve(program.value.maker)  # an optimizer, a class of one's own: it has the better sentence
        raise ModelFileError(no_module_message(program.value, Path(spec).name))
    if not wanted and all(map(is_setting, parts)) and weights_of(program.value):
        inner = f"{next(iter(parts))}`" if len(parts) == 1 else "NAME`, one of them"
        raise ModelFileError(
            f"{no_module_message(program.value, Path(spec).name)}; of its parts alone, {listed(parts)}, "
            f"`estimate {Path(spec).name}::{inner}"
        )
    place, record, notes = choose(parts, wanted, spec, contents.inside)
    with foreign_code(
        lambda why: (
            f"the layers in the file do not fit the installed libraries ({why}): save the model with the same "
            f"versions, or as a .pt2 with `{EXPORT_LINE}`"
        )
    ):
        try:
            module = _Rebuild().value(record)
            if not isinstance(module, torch.nn.Module):
                raise ModelFileError(no_module_message(record, Path(spec).name))
            _check_tree(module, {})
        except RecursionError:
            raise ModelFileError(f"the file nests its layers more deeply than any model: {NAME_THE_CODE}") from None
    return module, place, notes


_HOOK_REMEDIES = {
    "torch.nn.utils.prune": "make the pruning permanent with torch.nn.utils.prune.remove(layer, 'weight')",
    "torch.nn.utils.weight_norm": "fold it into the weight with torch.nn.utils.remove_weight_norm(layer)",
    "torch.nn.utils.spectral_norm": "fold it into the weight with torch.nn.utils.remove_spectral_norm(layer)",
}


def _hooks_message(layer: str, name: str, hooks: Any) -> str:
    """The sentence for a layer that carries hooks, with the remedy of the function that put them there."""
    makers = [hook.maker.module for hook in hooks.values() if isinstance(hook, Made)] if isinstance(hooks, dict) else []
    remedy = next((_HOOK_REMEDIES[maker] for maker in makers if maker in _HOOK_REMEDIES), "")
    return (
        f"the layer {layer} of the file carries hooks ({name}), which are code that is not run for a file: "
        + (f"{remedy} and save the model again, " if remedy else f"{NAME_THE_CODE}, ")
        + f"or save it with `{EXPORT_LINE}`"
    )


class _Rebuild:
    """Turns records into objects; each record once, so that shared layers and tied weights stay shared."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}

    def value(self, record: Any) -> Any:
        """The object of `record`, built at its first use."""
        if record is None or isinstance(record, (bool, int, float, str, bytes, bytearray)):
            return record
        key = id(record)
        if key not in self._done:
            result = self._build(key, record)
            self._done[key] = result
        return self._done[key]

    def _build(self, key: int, record: Any) -> Any:
        if isinstance(record, list):
            items: list[Any] = []
            self._done[key] = items
            items.extend(map(self.value, record))
            return items
        if isinstance(record, dict):
            mapping = type(record)()
            self._done[key] = mapping
            for name, item in record.items():
                mapping[self.value(name)] = self.value(item)
            return mapping
        if isinstance(record, (tuple, set, frozenset)):
            return type(record)(map(self.value, record))
        if isinstance(record, Global):
            found = allowed.resolve(record) if not allowed.is_data(record) else record
            return Inert(str(record)) if isinstance(found, (type, Global)) else found
        if isinstance(record, Made):
            inner = contents.opened(record)
            if inner is not record:
                return self.value(inner)
            if not record.called and is_quantized(record.maker.module, record.maker.name):
                return layer_of(record, self.value)
            return self._call(record) if record.called else self._new(key, record)
        raise ModelFileError("the file refers to tensor bytes outside of a tensor: save the model again")

    def _new(self, key: int, record: Made) -> Any:
        """An object created without its constructor."""
        import torch

        cls = allowed.resolve(record.maker)
        if not isinstance(cls, type) or issubclass(cls, enum.Enum):
            raise ModelFileError(
                f"the file creates an object of {one_line(record.maker, 80)}, which is no class of layers"
            )
        created = object.__new__(cls)
        self._done[key] = created
        state = record.state[0] if isinstance(record.state, tuple) and record.state else record.state
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise ModelFileError("a layer in the file has no attributes: save the model again")
        if issubclass(cls, torch.nn.Module):
            self._fill_module(created, cls, state)
        else:
            created.__dict__.update({name: self.value(item) for name, item in state.items()})
            config_bounds.check(created.__dict__, f"the {cls.__name__} in the file")
            if created.__dict__.get("_attn_implementation_internal") not in (None, "eager", "sdpa"):
                created.__dict__["_attn_implementation_internal"] = "sdpa"  # flash kernels need a GPU and the hub
        return created

    def _fill_module(self, module: Any, cls: type, state: dict[str, Any]) -> None:
        import torch

        attributes: dict[str, Any] = {}
        for name, item in state.items():
            if name in _UNUSED_HOOKS:
                continue
            if name.startswith("_") and name.endswith(_HOOKS) and item:
                raise ModelFileError(_hooks_message(cls.__name__, one_line(name, 40), item))
            attributes[name] = self.value(item)
            if callable(attributes[name]) and callable(getattr(cls, name, None)):
                raise ModelFileError(
                    f"the layer {cls.__name__} of the file replaces its own method {one_line(name, 40)}, which is not "
                    f"run for a file: {NAME_THE_CODE}"
                )
        for name in ("_parameters", "_buffers", "_modules"):
            held = attributes.get(name)
            if not (isinstance(held, dict) and all(isinstance(key, str) for key in held)):
                raise ModelFileError(f"the layer {cls.__name__} of the file is incomplete: save the model again")
        layers = attributes.get("num_layers", 1)
        if issubclass(cls, torch.nn.RNNBase):
            if not isinstance(layers, int):
                raise ModelFileError(f"the layer {cls.__name__} of the file is incomplete: save the model again")
            budget.check("layers", layers)
        restore = cls if cls.__module__.startswith("torch.nn.") else torch.nn.Module
        restore.__setstate__(module, attributes)  # type: ignore[attr-defined]

    def _call(self, record: Made) -> Any:
        """What one of the listed calls returns; every other call is refused."""

        if record.maker == Global("functools", "partial"):
            return self._partial(record)
        if record.maker == Global("builtins", "getattr"):
            return self._attribute(record)
        if record.maker == Global("torch._tensor", "_rebuild_from_type_v2"):
            function, _, args, _ = record.args
            if not isinstance(function, Global) or not isinstance(args, tuple):
                raise ModelFileError("a tensor of the file is not described as torch does: save the model again")
            return self._call(Made(function, args, called=True))
        if not allowed.is_data(record.maker):
            cls = allowed.resolve(record.maker)
            if isinstance(cls, type) and issubclass(cls, enum.Enum) and len(record.args) == 1:
                return cls(self.value(record.args[0]))
            raise ModelFileError(
                f"the file calls {one_line(record.maker, 80)}, which no saved model needs: {NAME_THE_CODE}"
            )
        return data_of(record, self.value)

    def _partial(self, record: Made) -> Any:
        """A listed function with some plain arguments set, such as GELU's approximation; inert around a class."""
        function = self.value(record.args[0])
        args, settings = (record.state[1], record.state[2] or {}) if isinstance(record.state, tuple) else ((), {})
        plain = (bool, int, float, str, type(None))
        if isinstance(function, Inert) or not all(isinstance(arg, plain) for arg in [*args, *settings.values()]):
            return Inert("functools.partial")
        return functools.partial(function, *args, **settings)

    def _attribute(self, record: Made) -> Any:
        """`getattr` as pickle uses it for `torch.relu` and for members of an Enum; nothing else."""
        owner, name = record.args
        if owner == Global("torch._C", "_VariableFunctionsClass"):
            return allowed.torch_function(name)
        cls = allowed.resolve(owner) if isinstance(owner, Global) else None
        if isinstance(cls, type) and issubclass(cls, enum.Enum):
            return cls[name]
        raise ModelFileError(f"the file takes an attribute of an object, which no saved model needs: {NAME_THE_CODE}")


def _check_tree(module: torch.nn.Module, seen: dict[int, int | None]) -> int:
    """How many paths lead to the layers of `module`; refuses one that contains itself, or parts that are no layers."""
    import torch

    paths = seen.setdefault(id(module), None)
    if paths is not None:
        return paths
    tensors = [*module._parameters.values(), *module._buffers.values()]
    if not all(tensor is None or isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise ModelFileError("a layer of the file has a parameter that is no tensor: save the model again")
    paths = 1
    for child in module._modules.values():
        if child is None:
            continue
        if not isinstance(child, torch.nn.Module):
            raise ModelFileError("a layer of the file has a part that is no layer: save the model again")
        if id(child) in seen and seen[id(child)] is None:
            raise ModelFileError(f"a layer of the file contains itself: {NAME_THE_CODE}")
        paths += _check_tree(child, seen)
    budget.check("layers", paths)
    seen[id(module)] = paths
    return paths
