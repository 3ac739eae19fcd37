"""A `Footprint` as text for a terminal; in a narrow one its tables become lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from estimator.base.facts import Assumption
from estimator.base.units import duration, si
from estimator.base.words import printable
from estimator.footprint import Footprint
from estimator.hardware.profile import HardwareProfile
from estimator.hardware.selection import SLOWED
from estimator.lifecycle.stages import PAPER_OVERHEAD, Stage
from estimator.report.layout import Column, columns, grid
from estimator.report.memory import memory_lines, verdict
from estimator.workload.crosscheck import PARTS, CrossCheck
from estimator.workload.ops import PHASES, Workload

_ROOM_FOR_SOURCES = 110
_COUNTED = frozenset({"epochs", "samples", "devices", "trials", "inferences"})

_STATUS_WORDS = {
    "calibrated": "calibrated",
    "published": "fitted on published measurements of this device",
    "datasheet": "NOT measured: priced from its spec sheet, so the intervals are wide",
    "generic": "UNKNOWN device: priced as the catalogue's median, so the intervals are very wide",
}


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def told_flops(workload: Workload) -> str:
    """FLOPs of a sample, with "at least", "at most" or "about" before them where they are not exact."""
    bound = "" if workload.bound == "exact" else f"{workload.bound} "
    return f"{bound}{si(workload.flops_per_sample, 'FLOP')}"


def _model_lines(footprint: Footprint) -> Iterator[Text]:
    facts, served, step = footprint.model, footprint.inference_workload, footprint.training_workload
    yield Text.assemble((printable(facts.name), "bold"), " ", (f"({printable(facts.form)})", "dim"))
    trained = "" if facts.trainable_parameters == facts.parameters else f" ({facts.trainable_parameters:,} trained)"
    yield Text(f"  {facts.parameters:,} parameters{trained}")
    yield Text(
        f"  one inference: {told_flops(served)} (2 per multiply-accumulate), "
        f"{si(served.bytes_per_sample, 'B')} moved, {_many(len(served.ops), 'op')}"
    )
    yield Text(
        f"  one training sample: {told_flops(step)}, {si(step.bytes_per_sample, 'B')} moved, "
        f"{_many(len(step.ops), 'op')} a step"
    )
    yield from (Text(f"  ! {printable(warning)}", style="yellow") for warning in footprint.input_warnings)
    shown = [f"{count} {printable(name)}" for name, count in list(facts.layer_types.items())[:6]]
    more = len(facts.layer_types) - len(shown)
    yield Text(f"  layers: {', '.join(shown)}" + (f" and {_many(more, 'more type')}" if more > 0 else ""))
    yield hardware_line(footprint.hardware)


def hardware_line(hardware: HardwareProfile) -> Text:
    """What a device is called, and what its prices rest on."""
    status = _STATUS_WORDS[hardware.status]
    if hardware.status == "calibrated" and not hardware.model.power.class_w:
        status += " in time; no meter reads it, so its power is modelled from its spec sheet"
    return Text.assemble(
        (printable(hardware.title), "bold"), " ", (f"({printable(hardware.name)})", "dim"), f": {status}"
    )


def _counted(footprint: Footprint, name: str) -> str:
    """How often the user asked for something, " (50 trials)"; "" where the assumptions do not say."""
    value = next((a.value for a in footprint.assumptions if a.name == name), None)
    return (
        f" ({value:,.15g} {name if value != 1 else name.removesuffix('s')})" if isinstance(value, int | float) else ""
    )


def _stages(footprint: Footprint, width: int) -> RenderableType:
    numbers = ("energy", "90% interval", "kWh", "kg CO2e", "duration")
    batch = footprint.inference_workload.batch_size
    stages: list[tuple[str, Stage | None]] = [
        (f"inference (1 of {batch:,})" if batch > 1 else "inference (1 sample)", footprint.inference),
        ("training", footprint.training.stage),
        (f"search{_counted(footprint, 'trials')}", footprint.search),
        (f"lifetime{_counted(footprint, 'inferences')}", footprint.lifetime),
    ]
    rows = []
    for name, stage in stages:
        if stage is not None:
            energy = stage.energy_j
            interval = f"{si(energy.low, 'J', 2)} to {si(energy.high, 'J', 2)}"
            cells = (si(energy.value, "J"), interval, f"{stage.energy_kwh:.3g}", f"{stage.carbon_kg:.3g}")
            rows.append((name, *cells, duration(stage.duration_s.value)))
    return grid(columns("stage", *numbers, numbers=numbers), rows, width)


def _training_lines(footprint: Footprint) -> Iterator[Text]:
    estimate, trained = footprint.training_estimate, footprint.training
    total = estimate.energy_j.value
    shares = [
        f"{phase} {estimate.phase_energy_j[phase] / total:.0%}" for phase in PHASES if phase in estimate.phase_energy_j
    ]
    yield Text(f"Training is {', '.join(shares)} as traced;")
    forced = "" if footprint.overhead_is_traced else ", forced"
    paper = f"(the paper's constant: {PAPER_OVERHEAD:.0%}, --overhead {PAPER_OVERHEAD})"
    yield Text.assemble(f"  overhead over the forward pass {trained.overhead_share:.0%}{forced} ", (paper, "dim"))
    bounds = [f"{share:.0%} on {bound}" for bound, share in estimate.bound_shares.items() if share >= 0.005]
    yield Text(f"  its time waits {', '.join(bounds)}")
    clock_hz, limit_w = footprint.hardware.clock_hz, footprint.hardware.model.power.limit_w
    if clock_hz and estimate.clock_share < SLOWED:
        slowed = f"{estimate.clock_share * clock_hz / 1e6:,.0f} MHz, from {clock_hz / 1e6:,.0f} MHz"
        yield Text(f"  its power limit of {limit_w:g} W lowers the clock to {slowed}")


def _layers(footprint: Footprint, top: int, width: int) -> RenderableType:
    numbers = ("training energy", "share")
    rows = [
        (layer.name or "(model itself)", layer.type, si(layer.energy_j, "J"), f"{layer.share:.1%}")
        for layer in footprint.layers[:top]
    ]
    heads = columns("layer", "type", *numbers, numbers=numbers)
    return grid(heads, rows, width, title=f"The {top} layers that cost most")


def _value(assumption: Assumption) -> str:
    value = assumption.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | float):
        return value
    unit = assumption.unit.removesuffix("s") if value == 1 and assumption.unit in _COUNTED else assumption.unit
    return f"{value:,} {unit}".strip()


def assumptions_table(assumptions: Sequence[Assumption], width: int) -> RenderableType:
    """Every choice that an answer rests on, whose it was, and the option that changes it."""
    heads = columns("assumption", "value", "status", "change with")
    if width >= _ROOM_FOR_SOURCES:
        heads.append(Column("source", style="dim", rest=True))
    rows = [
        (a.name.replace("_", " "), _value(a), a.status, a.flag, "" if a.source == a.flag else a.source)[: len(heads)]
        for a in assumptions
        if (a.name, a.value) != ("region", "given")  # the carbon intensity was given, no region
    ]
    return grid(heads, rows, width, title="What this rests on (default: nobody chose it)")


def cautions(footprint: Footprint) -> Iterator[str]:
    """What an answer warns of: each a sentence."""
    yield from footprint.input_warnings
    yield from footprint.memory_warnings
    yield from footprint.warnings
    uncovered = {**footprint.inference_workload.uncovered_ops, **footprint.training_workload.uncovered_ops}
    if uncovered:
        names = ", ".join(f"{name} x{count}" for name, count in uncovered.items())
        yield f"not counted (ops without a FLOP formula; their bytes are): {names}"
    for guess in dict.fromkeys((*footprint.inference_workload.guesses, *footprint.training_workload.guesses)):
        yield f"guessed, since only data would tell: {guess}"


def render(footprint: Footprint, top: int = 5, width: int = 80) -> RenderableType:
    """`footprint` as a rich renderable for `width` columns, with the `top` dearest layers."""
    parts: list[RenderableType] = [*verdict(footprint), *_model_lines(footprint)]
    stages = _stages(footprint, width)
    site = "Energy at the facility (device + rest of the node, x PUE)"
    parts += [Text(""), Text(site, style="bold"), stages, Text(""), *memory_lines(footprint), Text("")]
    parts += [*_training_lines(footprint)]
    if top:
        parts += [Text(""), _layers(footprint, min(top, len(footprint.layers)), width)]
    parts += [Text(""), assumptions_table(footprint.assumptions, width)]
    told_above = (*footprint.input_warnings, *footprint.memory_warnings)
    parts += [caution_line(caution) for caution in cautions(footprint) if caution not in told_above]
    return Group(*parts)


def caution_line(caution: str) -> RenderableType:
    """A warning, set apart."""
    return Padding(Text(f"! {printable(caution)}", style="yellow", overflow="fold"), (1, 0, 0, 0))


def show(footprint: Footprint, top: int = 5) -> None:
    """Print `footprint` to standard output, as wide as the terminal."""
    console = Console(highlight=False)
    console.print(render(footprint, top, console.width))


def show_cross_check(check: CrossCheck) -> None:
    """Print the three counters' FLOPs side by side, and why they differ."""
    counters = {"ours": check.ours, "fvcore": check.fvcore, "torch": check.torch}
    rows = [
        (part, *("-" if counts is None else f"{counts.get(part, 0):,}" for counts in counters.values()))
        for part in PARTS
        if any(counts and counts.get(part) for counts in counters.values())
    ]
    console = Console(highlight=False)
    console.print(Text("\nCross-check: FLOPs of one forward pass of one sample", style="bold"))
    console.print(grid(columns("", *counters, numbers=counters), rows, console.width))
    if check.difference_from_fvcore is not None:
        console.print(f"convolutions and matrix products: {check.difference_from_fvcore:+.2%} from fvcore")
    for note in check.notes:
        console.print(Text(f"- {printable(note)}", overflow="fold"))
