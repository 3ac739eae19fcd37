"""A model built by the user's own code: `file.py:Net` or `package.module:callable`.

Whoever names code on the command line asks for it to run, as with `python file.py`; so this form needs no
`--trust`, unlike the code that a model file carries, which never runs without it.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from estimator.base.errors import ModelFileError
from estimator.base.nests import each
from estimator.base.reading import read_bytes
from estimator.base.words import one_line, told
from estimator.sources.arguments import NOTHING, Given, bound
from estimator.sources.building import counted, offline_and_quiet, on_meta, to_meta
from estimator.sources.choosing import Part, choose, held_models
from estimator.sources.examples import with_example
from estimator.sources.libraries.torchvision_ops import allow_torchvision_without_its_extension
from estimator.sources.loaded import LoadedModel, no_code_file
from estimator.sources.wrappers import opened, opened_throughout

_LARGEST_SOURCE = 16 * 2**20

_LISTS = (torch.nn.ModuleDict, torch.nn.ModuleList)
"""Modules that hold others and run none of them."""

_REMEDY = "write a function without arguments that returns the model and name it instead"


def load_factory(spec: str, part: str = "", what: Given = NOTHING) -> LoadedModel:
    """The model that the callable (or the module instance) named by `spec` gives, of several the one at `part`.

    `what` is what it is called with, and the checkpoint whose weights it must have.
    """
    where, _, attribute = spec.rpartition(":")
    target = opened(named_by(spec))
    if isinstance(target, torch.nn.Module):
        if what.arguments:
            raise ModelFileError(f"{spec} is built already and takes no --arg: name its class or a function instead")
        module, _ = _chosen(target, spec, part)
        return LoadedModel(to_meta(module), f"{attribute}::{part}" if part else attribute, "Python module instance")
    if not callable(target):
        raise ModelFileError(
            f"{spec} is neither callable nor a torch.nn.Module but a {type(target).__name__}: {_REMEDY}"
        )
    args, kwargs, notes = bound(target, spec, what)
    with offline_and_quiet(), users_code(where):
        result = on_meta(lambda: target(*args, **kwargs))
    loaded = built(result, spec, _REMEDY, part)
    if what.checkpoint:
        tensors = loaded.module.state_dict(keep_vars=True)
        names: dict[int, list[str]] = {}
        for name, tensor in tensors.items():
            names.setdefault(id(tensor), []).append(name)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        what.checkpoint.check(shapes, map(frozenset, names.values()), spec)
    return replace(loaded, notes=notes + loaded.notes)


def named_by(spec: str) -> Any:
    """What `file.py:name` or `package.module:name` names; the user's own code is run to find it."""
    where, _, attribute = spec.rpartition(":")
    allow_torchvision_without_its_extension()
    with counted(), users_code(where):
        source = _module_of_file(Path(where)) if where.endswith(".py") else _module_of_package(where)
    return _attribute(source, attribute, where)


def built(result: Any, spec: str, remedy: str, part: str = "") -> LoadedModel:
    """The model that the code named by `spec` returned: a module, a pair of it and its example inputs, or several.

    `part` names one of several, or a layer.
    """
    example: Any = None
    if isinstance(result, tuple) and len(result) == 2 and _has_tensors(result[1]):
        result, example = result
    module, notes = _chosen(result, spec, part)
    if not isinstance(module, torch.nn.Module):
        raise ModelFileError(f"{spec} returns a {type(module).__name__} and no torch.nn.Module: {remedy}")
    name = spec.rpartition(":")[2]
    name = f"{name}::{part}" if part else name
    loaded = LoadedModel(to_meta(module), name, "Python factory", notes=notes)
    return loaded if example is None or part else with_example(loaded, example, "the factory's example inputs")


def _has_tensors(value: Any) -> bool:
    """Whether what stands beside a model may be example inputs; a tokenizer, settings or a second model are none."""
    return bool(each(value, torch.Tensor))


def _chosen(value: Any, spec: str, part: str) -> tuple[Any, tuple[str, ...]]:
    """The one model in what code gave, without wrappers, and notes on what was left out; `value` where it is none."""
    parts = held_models(value, _part_of, _items_of)
    if not parts:
        return value, ()
    _, module, notes = choose(parts, part, spec, lambda model, name: model._modules.get(name))
    return opened_throughout(module), notes


def _part_of(value: Any) -> Part | None:
    module = opened(value)
    if not isinstance(module, torch.nn.Module) or type(module) in _LISTS:
        return None
    return Part(module, type(module).__name__, sum(parameter.numel() for parameter in _sized(module)))


def _sized(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [parameter for parameter in module.parameters() if not torch.nn.parameter.is_lazy(parameter)]


def _items_of(value: Any) -> Iterable[tuple[Any, Any]]:
    value = opened(value)
    if type(value) in _LISTS:
        return list(value._modules.items())
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else ()


def names_in_file(path: Path) -> list[str]:
    """The classes and functions that a Python file defines at its top, without running it."""
    try:
        tree = ast.parse(read_bytes(path, _LARGEST_SOURCE))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


@contextmanager
def users_code(where: str) -> Iterator[None]:
    """Turns whatever the user's own code raises into one sentence with its line; it sees no arguments of ours."""
    arguments, sys.argv = sys.argv, [where]
    try:
        yield
    except ModelFileError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelFileError(
            f"{where} raised {told(error)}{_line_of(error, where)}: correct it there and try again"
        ) from error
    finally:
        sys.argv = arguments


def _line_of(error: BaseException, where: str) -> str:
    """Where in the user's own file the error arose, " (net.py, line 3)"."""
    if isinstance(error, SyntaxError):  # its message has the line
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and f.filename not in (__file__, importlib.__file__)]
    here = str(Path(__file__).parent)
    own = [f for f in own if not f.filename.startswith((here, "<frozen"))]
    named = [f for f in own if Path(f.filename).name == Path(where).name] or own
    return f" ({Path(named[-1].filename).name}, line {named[-1].lineno})" if named else ""


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise no_code_file(path)
    _make_importable(path.parent)
    name = f"joulecast_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelFileError(f"{path} cannot be imported as Python: give the path of a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _module_of_package(name: str) -> ModuleType:
    _make_importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise ModelFileError(
            f"there is no Python module {name} here or among the installed packages: run in its folder, or "
            "give the file, `estimate path/to/file.py:Net`"
        ) from None


def _make_importable(folder: Path) -> None:
    """Put `folder` where `python` itself puts the folder of the script it runs."""
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.insert(0, path)


def _attribute(source: ModuleType, attribute: str, where: str) -> Any:
    found: Any = source
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [name for name in vars(source) if not name.startswith("_") and callable(getattr(source, name))]
            near = difflib.get_close_matches(attribute, names, 3, 0.4) or names[:5]
            hint = f"; it has {', '.join(near)}" if near else ""
            raise ModelFileError(
                f"{where} has no {one_line(attribute, 60)}{hint}: name one that returns a model, `{where}:NAME`"
            )
        found = getattr(found, part)
    return found
