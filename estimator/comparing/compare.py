"""Models side by side: what each costs, how many times the best that is, and which differences are inside the error."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from estimator.base.errors import JoulecastError, ScenarioError
from estimator.base.words import one_line, printable
from estimator.comparing.sweep import Sweep, Variant, variants
from estimator.comparing.ties import Cost, ratio, tied
from estimator.energy.pricing import Bound
from estimator.energy.uncertainty import Interval
from estimator.footprint import Footprint, Traces, as_loaded, estimate
from estimator.hardware import selection
from estimator.lifecycle import choices, sentences
from estimator.lifecycle.carbon import carbon_kg
from estimator.lifecycle.scenario import Scenario
from estimator.lifecycle.stages import Stage
from estimator.sources import LoadedModel, takes_arguments
from estimator.sources.arguments import Given
from estimator.sources.mlp import expand
from estimator.sources.zoo.table import members

MAX_ROWS = 1_000
"""Most rows of a comparison: each keeps all of its ops."""


@dataclass(frozen=True)
class Row:
    """One model in one scenario, named by the model and the swept values. A `quality` is better where it is more."""

    name: str
    model: str
    swept: Mapping[str, str]
    footprint: Footprint
    quality: float | None = None

    @property
    def trained(self) -> Stage:
        """The training, and the search before it where one was asked for."""
        found, training = self.footprint.search, self.footprint.training.stage
        return training if found is None else found + training

    @property
    def total(self) -> Stage:
        """What rows are compared by: the lifetime where inferences were asked for, else search and training."""
        return self.footprint.lifetime or self.trained

    @property
    def bound_shares(self) -> dict[Bound, float]:
        """Shares of the total's time that wait for compute, memory and launches."""
        total_s, trained_s = self.total.duration_s.value, self.trained.duration_s.value
        shares: dict[Bound, float] = {}
        for estimated, seconds in (
            (self.footprint.training_estimate, trained_s),
            (self.footprint.inference_estimate, total_s - trained_s),
        ):
            for bound, share in estimated.bound_shares.items():
                shares[bound] = shares.get(bound, 0.0) + share * seconds / (total_s or 1.0)
        return shares


@dataclass(frozen=True)
class Failure:
    """A model, or a model in one scenario, that could not be estimated, and the sentence that says why."""

    name: str
    error: str


@dataclass(frozen=True)
class Comparison:
    """Rows from the cheapest to the costliest, and what failed. Rows are named by their index: 0 is the best.

    They are compared by joules at the facility, or by kilograms of CO2e where they run on different grids.
    """

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()

    def __str__(self) -> str:
        told = [f"{number}. {row.name}: {sentences.costs(row.total)}" for number, row in enumerate(self.rows, 1)]
        return "\n".join([*told, *(f"{failure.name} failed: {failure.error}" for failure in self.failures)])

    def __repr__(self) -> str:
        best = f", cheapest {self.rows[0].name!r}" if self.rows else ""
        return f"<Comparison of {len(self.rows)} models{best}, {len(self.failures)} failed>"

    def _repr_html_(self) -> str:
        """A small table for a notebook, the cheapest first."""
        return sentences.as_html(repr(self).strip("<>"), {row.name: row.total for row in self.rows})

    @cached_property
    def by_carbon(self) -> bool:
        """Whether rows are compared by CO2e: to another grid, energy is the same."""
        return _on_several_grids(self.rows)

    @cached_property
    def totals(self) -> tuple[Cost, ...]:
        """What each row is compared by."""
        return tuple(self._cost(row, row.total, row.bound_shares) for row in self.rows)

    @cached_property
    def trainings(self) -> tuple[Cost, ...]:
        """Each row's training, with its search."""
        return tuple(self._cost(row, row.trained, row.footprint.training_estimate.bound_shares) for row in self.rows)

    @cached_property
    def inferences(self) -> tuple[Cost, ...]:
        """One inference of each row."""
        return tuple(
            self._cost(row, row.footprint.inference, row.footprint.inference_estimate.bound_shares) for row in self.rows
        )

    @cached_property
    def ratios(self) -> tuple[Interval | None, ...]:
        """Each row over the best, with the 90% interval of the ratio; None where one of them costs nothing."""
        return tuple(ratio(total, self.totals[0]) for total in self.totals)

    @cached_property
    def ties(self) -> tuple[tuple[int, ...], ...]:
        """For each row the others from which its difference is inside the interval of their ratio."""
        each = range(len(self.rows))
        return tuple(tuple(j for j in each if j != i and tied(self.totals[i], self.totals[j])) for i in each)

    def _cost(self, row: Row, stage: Stage, waits: Mapping[Bound, float]) -> Cost:
        footprint, profile = row.footprint, row.footprint.hardware
        work = footprint.training_workload, footprint.inference_workload
        return Cost(_amount(stage, self.by_carbon), (profile.name, profile.clock_hz), waits, work)


def _on_several_grids(rows: Iterable[Row]) -> bool:
    return len({row.total.intensity.carbon_intensity_kg_per_kwh for row in rows}) > 1


def _amount(stage: Stage, by_carbon: bool) -> Interval:
    """Joules of `stage`, or kilograms of CO2e."""
    return stage.energy_j * carbon_kg(1.0, stage.intensity) if by_carbon else stage.energy_j


def by_name(specs: Iterable[str]) -> dict[str, str]:
    """The models that `specs` mean, families member by member, by names as short as they stay different.

    `nets/wide.pt` is "wide", `net.py:Net` "Net", `timm:resnet50` "resnet50"; where two end alike, what was typed.
    """
    each = list(dict.fromkeys(one for spec in specs for member in members(spec) for one in expand(member)))
    short = [_short(spec) for spec in each]
    return {name if short.count(name) == 1 else printable(spec): spec for name, spec in zip(short, each, strict=True)}


def _short(spec: str) -> str:
    path = Path(spec)
    name = path.stem if path.is_file() else path.name.rpartition(":")[2]
    return printable(name) or printable(spec)


def parse_qualities(texts: Iterable[str], models: Mapping[str, str]) -> dict[str, float]:
    """`--quality NAME=Q` by row or model; NAME may be what was typed for one of `models` too."""
    typed = {spec: name for name, spec in models.items()}
    qualities: dict[str, float] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            quality = float(value)
        except ValueError:
            quality = math.nan
        if not name or not math.isfinite(quality):
            raise ScenarioError(f"--quality {one_line(text, 60)!r} is not read: write NAME=NUMBER, such as wide=0.91.")
        qualities[typed.get(name, name)] = quality
    return qualities


def compare(
    models: Mapping[str, str | os.PathLike[str] | nn.Module | LoadedModel],
    scenario: Scenario | None = None,
    *,
    sweeps: Sequence[Sweep] = (),
    qualities: Mapping[str, float] | None = None,
    trust: bool = False,
    built_with: Given | None = None,
) -> Comparison:
    """Estimate every one of `models` (by name) in `scenario`, or in every combination of `sweeps`.

    `qualities` are those of rows or of models, by name: any number that is better where it is more. `built_with` are
    the arguments for those models that are code of the user's own, which one of them must be. A model that cannot
    be estimated becomes a `Failure`. No model is traced twice for what a trace does not depend on (hardware,
    region, epochs). Raises a `JoulecastError` where the scenarios themselves, or the names in `qualities`, are wrong.
    """
    every = list(variants(scenario or Scenario(), sweeps))
    if len(models) * len(every) > MAX_ROWS:
        raise ScenarioError(
            f"{len(models) * len(every):,} rows are more than {MAX_ROWS:,}; name fewer models or values."
        )
    for variant in every:
        asked = variant.scenario
        profile, _ = selection.choose(asked.value_of("hardware"), asked.settings)
        choices.site_of(asked, profile.host)
    qualities = qualities or {}
    _check_names(qualities, {*models, *(_row_name(model, variant) for model in models for variant in every)})
    code = {name for name, model in models.items() if isinstance(model, str) and takes_arguments(model)}
    if built_with and not code:
        raise ScenarioError("--arg and --checkpoint go with a class or a function, file.py:Net, and no model is one.")
    found: list[Row | Failure] = []
    for name, model in models.items():
        try:
            loaded = as_loaded(model, trust=trust, given=built_with if name in code else None)
        except JoulecastError as error:
            found.append(Failure(name, str(error)))
        else:
            found += _rows_of(name, loaded, every, qualities)
    rows = [row for row in found if isinstance(row, Row)]
    by_carbon = _on_several_grids(rows)
    rows.sort(key=lambda row: (_amount(row.total, by_carbon).value, row.name))
    return Comparison(tuple(rows), tuple(sorted((f for f in found if isinstance(f, Failure)), key=lambda f: f.name)))


def _rows_of(
    model: str, loaded: LoadedModel, every: Sequence[Variant], qualities: Mapping[str, float]
) -> Iterator[Row | Failure]:
    kept: Traces = {}
    for variant in every:
        name = _row_name(model, variant)
        try:
            footprint = estimate(loaded, variant.scenario, kept=kept)
        except JoulecastError as error:
            yield Failure(name, str(error))
        else:
            yield Row(name, model, variant.swept, footprint, qualities.get(name, qualities.get(model)))


def _row_name(model: str, variant: Variant) -> str:
    return " ".join([model, *(f"{option}={value}" for option, value in variant.swept.items())])


def _check_names(qualities: Mapping[str, float], names: set[str]) -> None:
    for name in qualities:
        if name not in names:
            known = one_line(", ".join(sorted(names)), 200)
            raise ScenarioError(f"--quality {one_line(name, 60)!r} names no model of this comparison: it has {known}.")
