"""A `Comparison` as text: one table (folded in a narrow terminal), why the costliest costs more, and which to take."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from estimator.base.atomic import write_text
from estimator.base.facts import Assumption
from estimator.base.units import si
from estimator.base.words import printable
from estimator.comparing.compare import Comparison, Row
from estimator.comparing.payoff import cheapest_to_train, cheapest_within, pareto, paybacks
from estimator.comparing.reasons import Reason, reasons
from estimator.energy.uncertainty import Interval
from estimator.lifecycle.stages import Stage
from estimator.report.comparison_data import BOUNDS, compared_by, to_csv, to_json
from estimator.report.folded import Filled, Part, folded, numbers, words
from estimator.report.memory import fitting
from estimator.report.text import assumptions_table, caution_line, cautions, hardware_line, told_flops

_NAMED = 3
"""So many rows are named in one warning; the others are counted."""


def answer(comparison: Comparison, within: float, *, as_json: bool = False, csv_file: str | None = None) -> None:
    """Print `comparison`: as text as wide as the terminal, as JSON, or as CSV where `csv_file` is "-"."""
    if csv_file is not None and csv_file != "-":
        write_text(Path(csv_file), to_csv(comparison))
    if as_json:
        print(json.dumps(to_json(comparison, within), indent=2))
    elif csv_file == "-":
        print(to_csv(comparison), end="")
    else:
        console = Console(highlight=False)
        console.print(render(comparison, within, console.width))


def render(comparison: Comparison, within: float, width: int = 80) -> RenderableType:
    """`comparison` for `width` columns; `within` is how far below the best quality a cheaper row may be."""
    if not comparison.rows:
        return Text("Nothing to compare: no model could be estimated.")
    devices = {row.footprint.hardware.name: row.footprint.hardware for row in comparison.rows}
    costs = [_what_they_are(comparison), _what_they_cost(comparison), _what_they_hold(comparison)]
    parts = [*costs, _waits(comparison), *_worth(comparison)]
    return Group(
        *map(hardware_line, devices.values()),
        Text(""),
        folded(_keys(comparison.rows), parts, width),
        Text(""),
        *(Text(line, overflow="fold") for line in (*_conclusions(comparison), *_choice(comparison, within))),
        Text(""),
        assumptions_table(_assumptions(comparison.rows), width),
        *map(caution_line, _cautions(comparison.rows)),
    )


def _keys(rows: Sequence[Row]) -> list[Filled]:
    """What names a row: its number, its model, and the values that are swept."""
    named = [numbers("#", map(str, range(1, len(rows) + 1))), words("model", (row.model for row in rows))]
    return named + [words(option, (row.swept[option] for row in rows)) for option in rows[0].swept]


def _what_they_are(comparison: Comparison) -> Part:
    served = [row.footprint.inference_workload for row in comparison.rows]
    columns = (
        numbers("parameters", (f"{row.footprint.model.parameters:,}" for row in comparison.rows)),
        numbers("work", map(told_flops, served)),
        numbers("moved", (si(one.bytes_per_sample, "B") for one in served)),
        numbers("ops", (f"{len(one.ops):,}" for one in served)),
    )
    return Part("Parameters, and one inference", columns)


def _what_they_cost(comparison: Comparison) -> Part:
    footprints = [row.footprint for row in comparison.rows]
    stages: dict[str, list[Stage | None]] = {
        "inference": [footprint.inference for footprint in footprints],
        "training": [footprint.training.stage for footprint in footprints],
        "search": [footprint.search for footprint in footprints],
        "lifetime": [footprint.lifetime for footprint in footprints],
    }
    columns = [
        numbers(name, (si(stage.energy_j.value, "J") for stage in of if stage))
        for name, of in stages.items()
        if all(of)
    ]
    columns += [
        numbers("90% interval", (_joules(row.total.energy_j) for row in comparison.rows)),
        numbers("kg CO2e", (f"{row.total.carbon_kg:.3g}" for row in comparison.rows)),
        numbers("x best", (_times(between.value) if between else "-" for between in comparison.ratios)),
    ]
    return Part(f"Energy at the facility (from the interval on: {compared_by(comparison)['stage']})", tuple(columns))


def _what_they_hold(comparison: Comparison) -> Part:
    needs = [row.footprint.memory for row in comparison.rows]
    columns = (
        numbers("inference", (si(one.inference.peak.total, "B") for one in needs)),
        numbers("training", (si(one.training.peak.total, "B") for one in needs)),
        words("training fits", (fitting(one.training) for one in needs)),
    )
    return Part("Memory of one device at its peak", columns)


def _joules(energy_j: Interval) -> str:
    return f"{si(energy_j.low, 'J', 2)} to {si(energy_j.high, 'J', 2)}"


def _times(value: float) -> str:
    """A ratio: "1.00", "14.1", "142"."""
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _ranges(indices: Sequence[int]) -> str:
    """The numbers of rows: "2-4, 7"."""
    runs: list[list[int]] = []
    for number in (index + 1 for index in indices):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _waits(comparison: Comparison) -> Part:
    shares = [row.bound_shares for row in comparison.rows]
    waits = (numbers(bound, (f"{abs(share.get(bound, 0.0)):.0%}" for share in shares)) for bound in BOUNDS)
    why = (f"{reason.cause} {reason.share:.0%}" if reason else "" for reason in reasons(comparison))
    ties = words("ties with", map(_ranges, comparison.ties))
    return Part("What the time waits for", (*waits, words("dearer by", why), ties))


def _worth(comparison: Comparison) -> Iterator[Part]:
    """Qualities, and when a training pays back, where there is anything to tell."""
    front, paid = pareto(comparison), paybacks(comparison)
    if front:
        qualities = [row.quality for row in comparison.rows]
        told = numbers("quality", ("-" if quality is None else f"{quality:g}" for quality in qualities))
        yield Part("Quality", (told, words("Pareto", ("front" if i in front else "" for i in range(len(qualities))))))
    if any(paid):
        value = numbers("inferences", (_count(one.value) if one else "" for one in paid))
        ends = (f"{_count(one.low)} to {_count(one.high) if one.high else 'never'}" if one else "" for one in paid)
        base = cheapest_to_train(comparison) + 1
        yield Part(f"Pays its training back against #{base} after", (value, numbers("interval", ends)))


def _count(amount: float) -> str:
    """A large number: "740", "5.7 M"."""
    return f"{amount:.0f}" if amount < 999.5 else si(amount, "", 2)


def _conclusions(comparison: Comparison) -> Iterator[str]:
    """What the ratios are of, and what makes the costliest row cost more than the best."""
    by, best, worst = compared_by(comparison), comparison.rows[0], comparison.rows[-1]
    amount = "CO2e" if by["quantity"] == "carbon_kg" else "energy"
    yield f"x best is of the {by['stage']}'s {amount}; rows tie where the 90% interval of their ratio holds 1."
    reason, between = reasons(comparison)[-1], comparison.ratios[-1]
    if reason is not None and between is not None:
        times = (
            f"{_times(between.value)} times {printable(best.name)} ({_times(between.low)} to {_times(between.high)})"
        )
        yield f"{printable(worst.name)} costs {times}: {_because(reason, worst, best)}"


def _because(reason: Reason, row: Row, best: Row) -> str:
    ours, theirs = row.footprint.training_workload, best.footprint.training_workload
    if reason.cause == "power":
        return f"mostly ({reason.share:.0%}) because it draws more power while it runs."
    if reason.cause == "grid":
        return f"mostly ({reason.share:.0%}) because its grid emits more per kWh."
    counted = {
        "launch": f"{len(ours.ops):,} ops and {ours.module_calls:,} module calls a training step against "
        f"{len(theirs.ops):,} and {theirs.module_calls:,}",
        "memory": f"{si(ours.bytes_moved, 'B')} a training step against {si(theirs.bytes_moved, 'B')}",
        "compute": f"{si(ours.flops, 'FLOP')} a training step against {si(theirs.flops, 'FLOP')}",
    }
    return f"{reason.share:.0%} of its extra time waits for {reason.cause}, with {counted[reason.cause]}."


def _choice(comparison: Comparison, within: float) -> Iterator[str]:
    names = [printable(row.name) for row in comparison.rows]
    chosen = cheapest_within(comparison, within)
    if chosen is None:
        return
    yield f"Pareto front (cost against quality): {', '.join(names[index] for index in pareto(comparison))}."
    yield f"Cheapest within {within:g} of the best quality: {names[chosen]} ({comparison.rows[chosen].quality:g})."
    if unrated := sum(row.quality is None for row in comparison.rows):
        yield f"{unrated} without a --quality are left out of both."


def _assumptions(rows: Sequence[Row]) -> list[Assumption]:
    """What all rows rest on; where they do not rest on the same, that they differ."""
    first, *others = ({a.name: a for a in row.footprint.assumptions} for row in rows)
    return [
        a
        if all(a.name in other and other[a.name].value == a.value for other in others)
        else replace(a, value="differs")
        for a in first.values()
    ]


def _cautions(rows: Sequence[Row]) -> Iterator[str]:
    """Warnings, each once, with the rows that it is about."""
    about: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for caution in cautions(row.footprint):
            about[caution].append(row.name)
    for caution, names in about.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{', '.join(names[:_NAMED])}{more}: {caution}"
