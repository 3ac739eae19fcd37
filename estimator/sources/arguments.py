"""Arguments for the code that builds a model: `--arg width=32`, and those that a checkpoint kept."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.base.words import one_line
from estimator.sources.checkpoint import Checkpoint, Unread, read_checkpoint

_MAX_TEXT = 10_000
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Given:
    """What is given beside the name of the code: arguments by name, and the checkpoint whose settings fill the rest."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None

    def __bool__(self) -> bool:
        return bool(self.arguments) or self.checkpoint is not None


NOTHING = Given()


def given(texts: Iterable[str], checkpoint: str | None) -> Given:
    """`--arg NAME=VALUE` (repeated) and `--checkpoint FILE`, read; `ModelFileError` where one cannot be."""
    return Given(dict(map(_parsed, texts)), read_checkpoint(checkpoint) if checkpoint is not None else None)


def _parsed(text: str) -> tuple[str, Any]:
    """`width=32`, its value as a Python literal (also true, false and null), else as text."""
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name.isidentifier() or len(text) > _MAX_TEXT:
        raise ModelFileError(f"--arg {one_line(text, 60)} is not read: write NAME=VALUE, such as --arg width=32")
    if value.lower() in _WORDS:
        return name, _WORDS[value.lower()]
    try:
        return name, ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return name, value


def bound(target: Any, spec: str, what: Given) -> tuple[tuple[Any, ...], dict[str, Any], tuple[str, ...]]:
    """The positional and keyword arguments to call `target` with, and a note on what the checkpoint gave.

    What `--arg` gives must be an argument of `target`; of a checkpoint's settings, those that are not are left out.
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return (), dict(what.arguments), ()
    parameters = signature.parameters
    named = {name for name, p in parameters.items() if p.kind not in _VARIADIC}
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    shown = one_line(f"{spec.rpartition(':')[2]}{signature}", 160)
    unknown = [name for name in what.arguments if name not in named and not open_ended]
    if unknown:
        raise ModelFileError(f"{spec} takes no argument {unknown[0]}: it is {shown}, correct --arg")
    kept = what.checkpoint.arguments_for(named, open_ended=open_ended) if what.checkpoint else {}
    values = kept | dict(what.arguments)
    missing = [name for name in parameters if name in named - set(values) and _is_needed(parameters[name])]
    if missing:
        raise ModelFileError(
            f"{spec} needs arguments ({one_line(', '.join(missing[:5]), 60)}): it is {shown}; give them, "
            f"`--arg {missing[0]}=VALUE`, take them from a checkpoint's hyper_parameters, `--checkpoint last.ckpt`, or "
            "write a function without arguments that returns the model and name it instead"
        )
    for name, value in values.items():
        if isinstance(value, Unread):
            raise ModelFileError(
                f"{name} in the {value.place} of {value.file} is {value.what} and no plain data, which alone is read: "
                f"give it, `--arg {name}=VALUE`, or write a function that builds the model without it"
            )
    first = tuple(values.pop(n) for n, p in parameters.items() if n in values and p.kind is p.POSITIONAL_ONLY)
    taken = [name for name in kept if name not in what.arguments]
    return first, values, what.checkpoint.notes(kept, taken) if what.checkpoint else ()


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty
