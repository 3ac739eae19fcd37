"""The answer in one glance: sentences, what was assumed, and the warnings that fit a screen of 24 lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from estimator.base.units import plain
from estimator.base.words import printable
from estimator.footprint import Footprint
from estimator.report.memory import fitting_line
from estimator.report.text import cautions, hardware_line

LINES = 24
_UNCHOSEN = ("epochs", "samples", "batch_size", "dtype", "optimizer", "hardware", "region", "pue")
_MORE = "Intervals are meant to hold 90% of outcomes; --explain shows all it rests on."


def headlines(footprint: Footprint) -> Iterator[str]:
    """The lines at the top, the most important first; whether it fits stands after what it costs."""
    first, *others = footprint.headline
    refusals = (f"! {printable(refusal)}" for refusal in footprint.memory_warnings)
    yield from (first, *refusals, *(line.plain for line in fitting_line(footprint)), *others)


def warnings(footprint: Footprint) -> Iterator[str]:
    """What a reader must know before the numbers are used, beside what does not fit."""
    yield from (printable(caution) for caution in cautions(footprint) if caution not in footprint.memory_warnings)
    if footprint.hardware.status not in ("calibrated", "published"):
        yield hardware_line(footprint.hardware).plain


def assumed(footprint: Footprint, batch: tuple[int, float] | None) -> str:
    """The choices that nobody made, and what another batch size is worth: (the size, the energy over today's)."""
    told = []
    for a in footprint.assumptions:
        if a.status == "default" and a.name in _UNCHOSEN:
            worth = f" ({batch[0]:,}: {plain(batch[1])} times the energy)" if batch and a.name == "batch_size" else ""
            value = a.value if isinstance(a.value, str) else f"{a.value:,}"
            told.append(f"{a.name.replace('_', ' ')} {printable(value)}{worth}")
    return f"Nobody chose: {', '.join(told)}." if told else ""


def render(footprint: Footprint, width: int = 80, batch: tuple[int, float] | None = None) -> RenderableType:
    """`footprint` for `width` columns; `batch` as in `assumed`."""
    first, *others = headlines(footprint)
    parts = [first, "", *others, assumed(footprint, batch), _MORE]
    used = sum(_height(part, width) for part in parts)
    warned = list(_fitting([f"! {warning}" for warning in warnings(footprint)], width, LINES - 1 - used))
    return Group(
        Text(first, style="bold"),
        Text(""),
        *map(Text, others),
        *(Text(line, style="yellow") for line in warned),
        *(Text(line, style="dim") for line in parts[-2:] if line),
    )


def _height(line: str, width: int) -> int:
    return max(1, len(textwrap.wrap(line, width)))


def _fitting(lines: Sequence[str], width: int, room: int) -> Iterator[str]:
    """Those of `lines` that fit `room`, the first always, and how many are left out."""
    for index, line in enumerate(lines):
        room -= _height(line, width)
        if index and room < (index + 1 < len(lines)):
            yield f"! {len(lines) - index} more: --explain shows them"
            return
        yield line


def show(footprint: Footprint, batch: tuple[int, float] | None = None) -> None:
    """Print `footprint` to standard output, as wide as the terminal."""
    console = Console(highlight=False)
    console.print(render(footprint, console.width, batch))
