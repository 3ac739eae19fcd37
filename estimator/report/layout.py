"""Tables for terminals of every width: numbers are never cut, and what others wrote is shown as it is, unstyled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from estimator.base.words import printable

_NARROWEST = 16
"""Columns of words may be folded to this many characters before a table becomes a list."""


@dataclass(frozen=True)
class Column:
    """One column: numbers stand right and are never broken; words are folded; `rest` takes what room is left."""

    header: str
    number: bool = False
    style: str = ""
    rest: bool = False


def columns(*headers: str, numbers: Iterable[str] = ()) -> list[Column]:
    """Columns by their headers."""
    return [Column(header, header in tuple(numbers)) for header in headers]


def grid(heads: Sequence[Column], rows: Sequence[Sequence[str]], width: int, title: str = "") -> RenderableType:
    """`rows` as a table, or as a list with one entry a row where `width` is too small for the numbers."""
    shown = [[printable(cell) for cell in row] for row in rows]
    if _least_width(heads, shown) > width:
        return _as_list(heads, shown, title)
    table = Table(box=None, pad_edge=False, title=Text(title, style="bold") if title else None, title_justify="left")
    rest = any(head.rest for head in heads)
    for head in heads:
        table.add_column(
            Text(head.header),
            justify="right" if head.number else "left",
            header_style="dim",
            style=head.style,
            no_wrap=head.number or head.rest,
            overflow="ellipsis" if head.rest else "fold",
            ratio=1 if head.rest else None,
        )
    table.expand = rest
    for row in shown:
        table.add_row(*map(Text, row))
    return table


def _least_width(heads: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    """The smallest width at which no number is broken and words keep some room."""
    least = 0
    for index, head in enumerate(heads):
        longest = max((len(row[index]) for row in rows), default=0)
        widest = max(longest, len(head.header))
        least += widest if head.number else min(widest, _NARROWEST)
    return least + 2 * (len(heads) - 1)  # rich puts two spaces between columns


def _as_list(heads: Sequence[Column], rows: Sequence[Sequence[str]], title: str) -> Group:
    """Each row as its first cell, and below it what the others say."""
    lines: list[Text] = [Text(title, style="bold")] if title else []
    for first, *others in rows:
        lines.append(Text(first or heads[0].header, overflow="fold"))
        for head, cell in zip(heads[1:], others, strict=True):
            if cell and not head.rest:
                lines.append(Text.assemble("  ", (f"{head.header}: ", "dim"), cell, overflow="fold"))
    return Group(*lines)
