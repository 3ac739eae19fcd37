"""What the zoo holds, read from `estimator/data/zoo.toml`; imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from estimator.base.errors import ModelFileError
from estimator.base.packaged import own_table
from estimator.base.words import one_line

PREFIX = "zoo:"


@dataclass(frozen=True)
class Entry:
    """One model: what it is, the source of its settings, its parameters as published, and how it is built.

    `inputs` are of one sample, as `--input` takes them; `assumed` names a size of theirs that the model does not fix,
    "" where all are the model's own. One of `config` (with the `parts` of the model that are taken), `timm`, `widths`
    and `network` says how it is built, as the table's head tells.
    """

    name: str
    title: str
    source: str
    parameters: int
    inputs: tuple[str, ...]
    assumed: str = ""
    note: str = ""
    also: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    timm: str = ""
    widths: tuple[int, ...] = ()
    network: str = ""


@dataclass(frozen=True)
class Family:
    """Several networks under one name, for `estimate compare`; `members` are given as they would be typed."""

    name: str
    title: str
    source: str
    members: tuple[str, ...]


@cache
def models() -> Mapping[str, Entry]:
    """Every model by its name, in the table's order."""
    return {name: Entry(name, **_plain(row)) for name, row in own_table("zoo.toml")["models"].items()}


@cache
def families() -> Mapping[str, Family]:
    """Every family by its name."""
    return {name: Family(name, **_plain(row)) for name, row in own_table("zoo.toml")["families"].items()}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def find(name: str) -> Entry:
    """The model `name`, by its name or another of its names, in any case; raises `ModelFileError` for none."""
    asked = name.strip().lower()
    names = {other: entry for entry in models().values() for other in (entry.name, *entry.also)}
    if asked in names:
        return names[asked]
    if asked in families():
        each = ", ".join(families()[asked].members)
        raise ModelFileError(
            f"{PREFIX}{asked} names several networks: give it to `estimate compare`, or name one of {each}"
        )
    known = [*names, *families()]
    near = [each for each in known if each.startswith(asked)][:4] or difflib.get_close_matches(asked, known, 4, 0.5)
    hint = f"did you mean {', '.join(PREFIX + each for each in near)}?" if near else "`estimate zoo` lists its models"
    raise ModelFileError(f"the zoo has no model {one_line(name, 60)}: {hint}")


def members(spec: str) -> tuple[str, ...]:
    """The networks that `spec` means: those of a family of the zoo, `zoo:table-6`; anything else means itself."""
    name = spec.strip().lower()
    family = families().get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    return family.members if family else (spec,)
