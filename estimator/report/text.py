"""A `Footprint` as text for a terminal, 80 columns and wider."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from estimator.crosscheck import PARTS, CrossCheck
from estimator.facts import Assumption
from estimator.footprint import Footprint
from estimator.lifecycle import PAPER_OVERHEAD, Stage
from estimator.units import duration, si
from estimator.workload import PHASES

_ROOM_FOR_SOURCES = 110
_COUNTED = frozenset({"epochs", "samples", "devices"})

_STATUS_WORDS = {
    "calibrated": "calibrated on this machine",
    "published": "fitted on published measurements of this device",
    "datasheet": "NOT measured: priced from its spec sheet, so the intervals are wide",
    "generic": "UNKNOWN device: priced as the catalogue's median, so the intervals are very wide",
}


def _table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", header_style="dim")
    return table


def _model_lines(footprint: Footprint) -> Iterator[str]:
    facts, served, step = footprint.model, footprint.inference_workload, footprint.training_workload
    yield f"[bold]{escape(facts.name)}[/] [dim]({escape(facts.form)})[/]"
    trained = "" if facts.trainable_parameters == facts.parameters else f" ({facts.trainable_parameters:,} trained)"
    yield f"  {facts.parameters:,} parameters{trained}"
    yield (
        f"  one inference: {si(served.flops_per_sample, 'FLOP')} (2 per multiply-accumulate), "
        f"{si(served.bytes_per_sample, 'B')} moved, {len(served.ops)} ops"
    )
    yield (
        f"  one training sample: {si(step.flops_per_sample, 'FLOP')}, {si(step.bytes_per_sample, 'B')} moved, "
        f"{len(step.ops)} ops a step"
    )
    shown = [f"{count} {name}" for name, count in list(facts.layer_types.items())[:6]]
    more = len(facts.layer_types) - len(shown)
    yield f"  layers: {', '.join(shown)}" + (f" and {more} more types" if more > 0 else "")
    hardware = footprint.hardware
    yield f"[bold]{escape(hardware.title)}[/] [dim]({hardware.name})[/]: {_STATUS_WORDS[hardware.status]}"


def _stages(footprint: Footprint) -> Table:
    numbers = ("energy", "90% interval", "kWh", "kg CO2e", "duration")
    table = _table("stage", *numbers, right=numbers)
    rows: list[tuple[str, Stage | None]] = [
        ("inference (1 sample)", footprint.inference),
        ("training", footprint.training.stage),
        ("search", footprint.search),
        ("lifetime", footprint.lifetime),
    ]
    for name, stage in rows:
        if stage is not None:
            energy = stage.energy_j
            interval = f"{si(energy.low, 'J', 2)} to {si(energy.high, 'J', 2)}"
            cells = (si(energy.value, "J"), interval, f"{stage.energy_kwh:.3g}", f"{stage.carbon_kg:.3g}")
            table.add_row(name, *cells, duration(stage.duration_s.value))
    return table


def _training_lines(footprint: Footprint) -> Iterator[str]:
    estimate, trained = footprint.training_estimate, footprint.training
    total = estimate.energy_j.value
    shares = [
        f"{phase} {estimate.phase_energy_j[phase] / total:.0%}" for phase in PHASES if phase in estimate.phase_energy_j
    ]
    yield f"Training is {', '.join(shares)} as traced;"
    forced = "" if footprint.overhead_is_traced else ", forced"
    yield (
        f"  overhead over the forward pass {trained.overhead_share:.0%}{forced} "
        f"[dim](the paper's constant: {PAPER_OVERHEAD:.0%}, --overhead {PAPER_OVERHEAD})[/]"
    )
    bounds = [f"{share:.0%} on {bound}" for bound, share in estimate.bound_shares.items() if share >= 0.005]
    yield f"  its time waits {', '.join(bounds)}"


def _layers(footprint: Footprint, top: int) -> Table:
    numbers = ("training energy", "share")
    table = _table("layer", "type", *numbers, right=numbers, title=f"The {top} layers that cost most")
    for layer in footprint.layers[:top]:
        table.add_row(layer.name or "(model itself)", layer.type, si(layer.energy_j, "J"), f"{layer.share:.1%}")
    return table


def _value(assumption: Assumption) -> str:
    value = assumption.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | float):
        return value
    unit = assumption.unit.removesuffix("s") if value == 1 and assumption.unit in _COUNTED else assumption.unit
    return f"{value:,} {unit}".strip()


def _assumptions(footprint: Footprint, width: int) -> Table:
    with_source = width >= _ROOM_FOR_SOURCES
    columns = ("assumption", "value", "status", "change with", *(("source",) if with_source else ()))
    table = _table(*columns, title="What this rests on (default: nobody chose it)")
    for a in footprint.assumptions:
        row = (a.name.replace("_", " "), escape(_value(a)), a.status, a.flag)
        source = "" if a.source == a.flag else f"[dim]{escape(a.source)}[/]"
        table.add_row(*row, *((source,) if with_source else ()))
    if with_source:
        for column in table.columns:
            column.no_wrap = True
        table.expand, table.columns[-1].ratio = True, 1
    return table


def _cautions(footprint: Footprint) -> Iterator[str]:
    yield from footprint.warnings
    uncovered = {**footprint.inference_workload.uncovered_ops, **footprint.training_workload.uncovered_ops}
    if uncovered:
        names = ", ".join(f"{name} x{count}" for name, count in uncovered.items())
        yield f"not counted (ops without a FLOP formula; their bytes are): {names}"
    for guess in dict.fromkeys((*footprint.inference_workload.guesses, *footprint.training_workload.guesses)):
        yield f"guessed, since only data would tell: {guess}"


def render(footprint: Footprint, top: int = 5, width: int = 80) -> RenderableType:
    """`footprint` as a rich renderable for `width` columns, with the `top` dearest layers."""
    parts: list[RenderableType] = [Text.from_markup(line) for line in _model_lines(footprint)]
    stages = _stages(footprint)
    site = "Energy at the facility (device + rest of the node, x PUE)"
    parts += [Text(""), Text(site, style="bold"), stages, Text("")]
    parts += [Text.from_markup(line) for line in _training_lines(footprint)]
    if top:
        parts += [Text(""), _layers(footprint, min(top, len(footprint.layers)))]
    parts += [Text(""), _assumptions(footprint, width)]
    parts += [Padding(Text(f"! {caution}", style="yellow"), (1, 0, 0, 0)) for caution in _cautions(footprint)]
    return Group(*parts)


def show(footprint: Footprint, top: int = 5) -> None:
    """Print `footprint` to standard output, as wide as the terminal."""
    console = Console(highlight=False)
    console.print(render(footprint, top, console.width))


def show_cross_check(check: CrossCheck) -> None:
    """Print the three counters' FLOPs side by side, and why they differ."""
    counters = {"ours": check.ours, "fvcore": check.fvcore, "torch": check.torch}
    table = _table("", *counters, right=tuple(counters))
    for part in PARTS:
        if any(counts and counts.get(part) for counts in counters.values()):
            table.add_row(
                part, *("-" if counts is None else f"{counts.get(part, 0):,}" for counts in counters.values())
            )
    console = Console(highlight=False)
    console.print("\n[bold]Cross-check: FLOPs of one forward pass of one sample[/]")
    console.print(table)
    if check.difference_from_fvcore is not None:
        console.print(f"convolutions and matrix products: {check.difference_from_fvcore:+.2%} from fvcore")
    for note in check.notes:
        console.print(f"- {escape(note)}")
