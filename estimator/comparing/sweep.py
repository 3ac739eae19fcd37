"""Sweeps: one scenario turned into several, `--sweep batch-size=1,8,32` into three."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from estimator.base.errors import ScenarioError
from estimator.base.words import one_line
from estimator.lifecycle.scenario import Scenario
from estimator.lifecycle.spellings import amount, whole

_TYPES: Mapping[str, Callable[[str], Any]] = {"float | None": amount, "int | None": whole}
_FIELDS = {field.name: _TYPES.get(str(field.type), str) for field in fields(Scenario) if field.type != "bool"}
_SHOWN = {"inputs": "input"}
_OPTIONS = {_SHOWN.get(name, name).replace("_", "-"): name for name in _FIELDS}


@dataclass(frozen=True)
class Sweep:
    """The values that one field of a `Scenario` takes in turn."""

    field: str
    values: tuple[Any, ...]

    @property
    def option(self) -> str:
        """The field as an option without its dashes: "batch-size"."""
        return _SHOWN.get(self.field, self.field).replace("_", "-")


@dataclass(frozen=True)
class Variant:
    """One scenario of a sweep, and the values in which it differs from the others, by option."""

    scenario: Scenario
    swept: Mapping[str, str]


def parse_sweep(text: str) -> Sweep:
    """`batch-size=1,8,32`: any option of a scenario, each value once. Raises `ScenarioError` where it is not one."""
    option, _, values = text.partition("=")
    name = _OPTIONS.get(option.strip().removeprefix("--").replace("_", "-"))
    if name is None:
        raise ScenarioError(f"--sweep {one_line(text, 60)!r} names no option: sweep one of {', '.join(_OPTIONS)}.")
    parts = [part.strip() for part in values.split(",")]
    if not all(parts):
        raise ScenarioError(f"--sweep {one_line(text, 60)!r} has an empty value: write {option}=VALUE,VALUE.")
    try:
        converted = [_FIELDS[name](part) for part in parts]
    except ValueError as error:
        kind = "a whole number" if _FIELDS[name] is whole else "a number"
        raise ScenarioError(f"--sweep {one_line(text, 60)!r} has a value that is not {kind}: mend it.") from error
    return Sweep(name, tuple(dict.fromkeys(converted)))


def variants(scenario: Scenario, sweeps: Sequence[Sweep]) -> Iterator[Variant]:
    """`scenario` with every combination of the swept values; itself where nothing is swept.

    Raises `ScenarioError` for a field that is swept twice, or that `scenario` already has a value for.
    """
    names = [sweep.field for sweep in sweeps]
    for sweep in sweeps:
        if names.count(sweep.field) > 1:
            raise ScenarioError(f"--sweep {sweep.option} is given twice; write all its values in one.")
        if getattr(scenario, sweep.field):
            raise ScenarioError(f"--{sweep.option} and --sweep {sweep.option} exclude each other; give one of them.")
    for values in product(*(sweep.values for sweep in sweeps)):
        shown = {sweep.option: _shown(value) for sweep, value in zip(sweeps, values, strict=True)}
        yield Variant(replace(scenario, **dict(zip(names, values, strict=True))), shown)


def _shown(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)
