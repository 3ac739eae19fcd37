"""Which of several models is meant, where a file or a factory has more than one: `gan.pt::generator`."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line

_MAX_DEPTH = 6
_SHOWN = 4
_AVERAGED = re.compile(r"(?<![A-Za-z])(ema|swa)(?![A-Za-z])|EMA|Ema(?![a-z])|[Aa]verag")
_NOT_THE_MODEL = re.compile(r"(hyper_parameters|hparams|loss|criterion)\w*(\.|$)")


@dataclass(frozen=True)
class Part:
    """One of the models: what it is, the type that its source names, and its parameters (elements, tied ones once)."""

    value: Any
    kind: str
    parameters: int


def split(spec: str) -> tuple[str, str]:
    """`gan.pt::generator` as ("gan.pt", "generator"); the part is "" where none is named."""
    where, _, part = spec.rpartition("::")
    return (where, part) if where and part else (spec, "")


def one_model_alone(where: str, part: str) -> ModelFileError:
    """The error for a part that is named of what is read as one model."""
    return ModelFileError(
        f"{one_line(where, 100)} is one model, whose parts have no names here: leave out `::{one_line(part, 60)}`"
    )


def averaged(name: str) -> bool:
    """Whether a name tells of a copy of a model that averages its weights over the training."""
    return _AVERAGED.search(name) is not None


def is_setting(place: str) -> bool:
    """Whether a model stands among a checkpoint's settings, or is its loss."""
    return _NOT_THE_MODEL.match(place) is not None


def held_models(
    value: Any, part_of: Callable[[Any], Part | None], items_of: Callable[[Any], Iterable[tuple[Any, Any]]]
) -> dict[str, Part]:
    """The models in nested containers by where they stand ("", "ema", "nets.0"), nearest first, each once.

    `part_of` tells what a model is (None for what is none), `items_of` the (name, item) pairs of a container.
    """
    found: dict[str, Part] = {}
    seen: set[int] = set()
    todo: deque[tuple[str, Any, int]] = deque([("", value, 0)])
    while todo:
        place, value, depth = todo.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        part = part_of(value)
        if part is not None and id(part.value) in {id(other.value) for other in found.values()}:
            continue
        if part is not None:
            found[place] = part
        elif depth < _MAX_DEPTH:
            todo += ((f"{place}.{name}".lstrip("."), item, depth + 1) for name, item in items_of(value))
    return found


def choose(
    parts: Mapping[str, Part], wanted: str, spec: str, inside: Callable[[Any, str], Any]
) -> tuple[str, Any, tuple[str, ...]]:
    """Where the model stands that is meant among `parts` (one or more), itself, and notes on what was left out.

    `wanted` names one of them, or a layer in one of them, which `inside(model, name)` gives (None for none); "" takes
    the only one that is no averaged copy, no loss and no setting. Raises `ModelFileError` where none or several are
    left; it says which there are, and how one is named.
    """
    if wanted:
        return wanted, _named(parts, wanted, spec, inside), ()
    candidates = {place: part for place, part in parts.items() if not is_setting(place)}
    weighted = {place: part for place, part in candidates.items() if part.parameters} or candidates
    trained = {place: part for place, part in weighted.items() if not averaged(place)} or weighted
    if len(trained) != 1:
        raise ModelFileError(_several(trained or parts, spec))
    (place, part), copies = next(iter(trained.items())), [place for place in weighted if place not in trained]
    if not copies:
        return place, part.value, ()
    shown = one_line(copies[0], 40)
    return place, part.value, (f"{one_line(place, 40)} is priced; beside it stands an averaged copy, `::{shown}`",)


def _named(parts: Mapping[str, Part], wanted: str, spec: str, inside: Callable[[Any, str], Any]) -> Any:
    """The model at `wanted`, or the layer there, of the model that stands nearest to it."""
    for place in sorted(parts, key=len, reverse=True):
        if wanted == place:
            return parts[place].value
        if place and not wanted.startswith(f"{place}."):
            continue
        value = parts[place].value
        for name in wanted[len(place) :].strip(".").split("."):
            value = inside(value, name) if value is not None else None
        if value is not None:
            return value
    if list(parts) == [""]:
        kind = one_line(parts[""].kind, 40)
        raise ModelFileError(
            f"the {kind} of {one_line(spec, 100)} has no layer {one_line(wanted, 60)}: name one as "
            "model.named_modules() does, or leave out what stands after ::"
        )
    raise ModelFileError(
        f"{one_line(spec, 100)} has no {one_line(wanted, 60)}: it holds {listed(parts)}; name one of them, as in "
        f"`{one_line(spec, 100)}::{one_line(next(iter(parts)), 60)}`"
    )


def listed(parts: Mapping[str, Part]) -> str:
    """ "generator (Sequential, 330 parameters) and ..."."""
    told = [
        f"{one_line(place or 'a model', 40)} ({one_line(part.kind, 40)}, {part.parameters:,} parameters)"
        for place, part in list(parts.items())[:_SHOWN]
    ]
    if len(parts) > _SHOWN:
        told.append(f"{len(parts) - _SHOWN} more")
    return " and ".join([", ".join(told[:-1]), told[-1]] if told[1:] else told)


def _several(parts: Mapping[str, Part], spec: str) -> str:
    shown, names = one_line(spec, 100), [one_line(place, 40) for place in parts]
    if len(parts) == 1:
        return (
            f"{shown} holds {listed(parts)}, which is only a part beside what it was saved for: name it if it is what "
            f"you mean, `estimate {shown}::{names[0]}`"
        )
    return (
        f"{shown} holds {len(parts)} models, {listed(parts)}: name the one you mean, `estimate {shown}::{names[0]}`, "
        f"or put them side by side, `estimate compare {shown}::{names[0]} {shown}::{names[1]}`"
    )
