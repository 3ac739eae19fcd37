"""A checkpoint of weights: the settings that it kept of its model, and the shapes that the model must have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.choosing import averaged
from estimator.sources.weight_files import shapes_in, weights_file
from estimator.sources.wrappers import HELD

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor of a state_dict, by its name."""

_WRAPPING = frozenset({*HELD.values(), "_checkpoint_wrapped_module", "_forward_module"})
"""What wrappers put into the names of a state_dict."""


_TRIED = 8
"""Modules around a model, or around the checkpoint's, whose names are tried."""


class Settings(dict[str, Any]):
    """Settings that are passed as one argument; code reads them by key or as attributes."""

    def __getattr__(self, name: str) -> Any:
        """The setting `name`."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the checkpoint's settings have no {name}") from None


@dataclass(frozen=True)
class Unread:
    """Stands for a setting that is no plain data: what it is, and where it stands."""

    what: str
    place: str
    file: str


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint tells of its model.

    `settings` are its hyper_parameters, found at `place`; `as_one` is the argument that takes all of them together, ""
    where each is one. `weights` are the shapes of the state_dict, empty where it holds none.
    """

    file: str
    settings: Mapping[str, Any]
    place: str
    as_one: str
    weights: Shapes
    quantized: bool

    def arguments_for(self, names: Iterable[str], *, open_ended: bool) -> dict[str, Any]:
        """The settings that code with arguments of these names takes; any name where it is `open_ended`."""
        if self.as_one and self.as_one in names:
            return {self.as_one: Settings(self.settings)}
        return {name: value for name, value in self.settings.items() if open_ended or name in names}

    def notes(self, kept: Mapping[str, Any], taken: Iterable[str]) -> tuple[str, ...]:
        """What of the settings was used, in a sentence."""
        shown = ", ".join(f"{name}={one_line(repr(kept[name]), 30)}" for name in taken)
        told = [f"from the {self.place} of {self.file}: {one_line(shown, 200)}"] if shown else []
        if self.quantized:
            told.append(f"the weights in {self.file} are quantized and not compared: priced is what the code builds")
        return tuple(told)

    def check(self, here: Shapes, tied: Iterable[frozenset[str]], spec: str) -> None:
        """Raises `ModelFileError` where the model that `spec` built has other weights than the checkpoint.

        Of names that are `tied` to one tensor, one in the checkpoint is enough, as in a safetensors file.
        """
        if not self.weights or self.quantized:
            return
        there = _renamed(self.weights, here)
        other = [name for name in here if name in there and here[name] != there[name]]
        once = {name for names in tied if not names.isdisjoint(there) for name in names}
        missing = [name for name in here if name not in there and name not in once]
        extra = [name for name in there if name not in here]
        if not (other or missing or extra):
            return
        if missing and len(missing) == len(here):
            told = f"no tensor has the same name, such as {one_line(missing[0], 60)} and {one_line(extra[0], 60)}"
        elif other:
            name = other[0]
            told = f"{one_line(name, 60)} is {_size(there[name])} there and {_size(here[name])} here" + _more(other)
        elif missing:
            told = f"{one_line(missing[0], 60)} is not there" + _more(missing)
        else:
            told = f"{one_line(extra[0], 60)} is there and not here" + _more(extra)
        raise ModelFileError(
            f"the weights in {self.file} are of another model than {spec} gives, {told}: correct its arguments with "
            "--arg, or name the code that the checkpoint is of"
        )


def _more(names: list[str]) -> str:
    return f" ({len(names) - 1} more alike)" if names[1:] else ""


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _renamed(there: Shapes, here: Shapes) -> Shapes:
    """`there` by the names of the model: without what wrappers added, or a module around it; the best fit."""
    plain = {_without_wrappers(name): shape for name, shape in there.items()}
    candidates = [there, plain]
    for names in (there, plain):
        for first in list(here)[:3]:
            outer = [name.removesuffix(first) for name in names if name.endswith(f".{first}")]
            candidates += [{n.removeprefix(h): s for n, s in names.items() if n.startswith(h)} for h in outer[:_TRIED]]
        first = next(iter(names))
        inner = [name.removesuffix(first) for name in here if name.endswith(f".{first}")]
        candidates += [{head + name: shape for name, shape in names.items()} for head in inner[:_TRIED]]
    return max(candidates, key=lambda names: (len(names.keys() & here.keys()), -len(names.keys() - here.keys())))


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPING)


def read_checkpoint(file: str) -> Checkpoint:
    """What the checkpoint `file`, or a folder with weights, tells; nothing in it is run.

    `ModelFileError` where it tells nothing of a model.
    """
    from estimator.sources.model_file import form_of, program_of
    from estimator.sources.pickles import allowed, weights

    path = Path(file)
    if path.is_dir():
        path = weights_file(path) or path
    if not path.is_file():
        raise ModelFileError(f"there is no file {one_line(file, 120)}: give the checkpoint, `--checkpoint last.ckpt`")
    if form_of(path) == "safetensors":
        shapes = shapes_in(path)
        return Checkpoint(path.name, {}, "", "", shapes, weights.are_quantized(shapes))
    program = program_of(path)
    allowed.check_names(program.globals)
    place, records = weights.settings_of(program.value)
    found = weights.weights_of(program.value)
    trained = [shapes for where, shapes in found.items() if not averaged(where)] or [*found.values()]
    if not place and not trained:
        raise ModelFileError(
            f"{path.name} holds neither hyper_parameters nor a state_dict: give a checkpoint of weights, or leave out "
            "--checkpoint"
        )
    settings = {name: _read(record, place, path.name) for name, record in records.items()}
    tensors = trained[0] if trained else {}
    as_one = weights.one_argument(program.value)
    return Checkpoint(path.name, settings, place, as_one, tensors, weights.are_quantized(tensors))


def _read(record: Any, place: str, file: str) -> Any:
    from estimator.sources.pickles.weights import plain

    try:
        return plain(record)
    except TypeError as error:
        return Unread(one_line(error, 80), place, file)
