"""A `Footprint` as text for a terminal, 80 columns and wider."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from estimator.footprint import Footprint
from estimator.lifecycle import PAPER_OVERHEAD, Stage
from estimator.units import duration, si
from estimator.workload import PHASES

_STATUS_WORDS = {
    "calibrated": "calibrated on this machine",
    "published": "fitted on published measurements of this device",
    "datasheet": "NOT measured: priced from its spec sheet, so the intervals are wide",
    "generic": "UNKNOWN device: priced as the catalogue's median, so the intervals are very wide",
}


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold", show_header=True)
    for column in columns:
        right = column not in ("", "stage", "layer", "type", "assumption", "value", "source", "says who", "change with")
        table.add_column(column, justify="right" if right else "left", header_style="dim", overflow="fold")
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
    table = _table("stage", "energy", "90% interval", "kWh", "kg CO2e", "duration")
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
    yield (
        f"  overhead over the forward pass {trained.overhead_share:.0%}, the paper's constant {PAPER_OVERHEAD:.0%} "
        "[dim](--overhead 0.8 forces it)[/]"
    )
    bounds = [f"{share:.0%} on {bound}" for bound, share in estimate.bound_shares.items()]
    yield f"  its time waits {', '.join(bounds)}"


def _layers(footprint: Footprint, top: int) -> Table:
    table = _table("layer", "type", "training energy", "share", title=f"The {top} layers that cost most")
    for layer in footprint.layers[:top]:
        table.add_row(layer.name or "(model itself)", layer.type, si(layer.energy_j, "J"), f"{layer.share:.1%}")
    return table


def _assumptions(footprint: Footprint) -> Table:
    table = _table("assumption", "value", "says who", "change with", "source", title="What this rests on")
    for a in footprint.assumptions:
        value = f"{a.value:,}" if isinstance(a.value, int | float) else str(a.value)
        table.add_row(a.name, f"{value} {a.unit}".strip(), a.status, a.flag, "" if a.source == a.flag else a.source)
    return table


def _cautions(footprint: Footprint) -> Iterator[str]:
    yield from footprint.warnings
    uncovered = {**footprint.inference_workload.uncovered_ops, **footprint.training_workload.uncovered_ops}
    if uncovered:
        names = ", ".join(f"{name} x{count}" for name, count in uncovered.items())
        yield f"not counted (ops without a FLOP formula; their bytes are): {names}"
    for guess in dict.fromkeys((*footprint.inference_workload.guesses, *footprint.training_workload.guesses)):
        yield f"guessed, since only data would tell: {guess}"


def render(footprint: Footprint, top: int = 5) -> RenderableType:
    """`footprint` as a rich renderable, with the `top` dearest layers."""
    parts: list[RenderableType] = [Text.from_markup(line) for line in _model_lines(footprint)]
    stages = _stages(footprint)
    site = "Energy at the facility (device + rest of the node, x PUE)"
    parts += [Text(""), Text(site, style="bold"), stages, Text("")]
    parts += [Text.from_markup(line) for line in _training_lines(footprint)]
    if top:
        parts += [Text(""), _layers(footprint, min(top, len(footprint.layers)))]
    parts += [Text(""), _assumptions(footprint)]
    parts += [Padding(Text(f"! {caution}", style="yellow"), (1, 0, 0, 0)) for caution in _cautions(footprint)]
    return Group(*parts)


def show(footprint: Footprint, top: int = 5) -> None:
    """Print `footprint` to standard output, as wide as the terminal."""
    Console(highlight=False).print(render(footprint, top))
