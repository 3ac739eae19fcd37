"""A table too wide for the terminal, folded into several below each other that begin with the same columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from estimator.base.words import printable
from estimator.report.layout import Column, grid

_WIDEST_WORDS = 24
"""Columns of words give way to this many characters before a column goes to the next table."""


@dataclass(frozen=True)
class Filled:
    """A column and its cells, one for each row."""

    head: Column
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        """Characters that it takes."""
        widest = max(map(len, (self.head.header, *self.cells)))
        return widest if self.head.number else min(widest, _WIDEST_WORDS)


@dataclass(frozen=True)
class Part:
    """Columns that belong together, under a title."""

    title: str
    columns: tuple[Filled, ...]


def numbers(header: str, cells: Iterable[str]) -> Filled:
    """A column of numbers."""
    return Filled(Column(header, number=True), tuple(map(printable, cells)))


def words(header: str, cells: Iterable[str]) -> Filled:
    """A column of words."""
    return Filled(Column(header), tuple(map(printable, cells)))


def folded(keys: Sequence[Filled], parts: Sequence[Part], width: int) -> RenderableType:
    """One table where `width` has room for it, else several, each beginning with the columns `keys`.

    Parts stand beside each other while they fit; a part that is too wide alone goes on in the next table.
    """
    room = width - sum(key.width + 2 for key in keys)
    tables: list[RenderableType] = []
    for title, columns in _tables(parts, room):
        filled = [*keys, *columns]
        rows = list(zip(*(column.cells for column in filled), strict=True))
        tables += [Text(""), Text(title, style="bold"), grid([column.head for column in filled], rows, width)]
    return Group(*tables[1:])


def _tables(parts: Sequence[Part], room: int) -> Iterator[tuple[str, list[Filled]]]:
    titles: list[str] = []
    columns: list[Filled] = []
    for part in parts:
        title = part.title
        if columns and _width([*columns, *part.columns]) > room:
            yield "; ".join(titles), columns
            titles, columns = [], []
        for column in part.columns:
            if columns and _width([*columns, column]) > room:
                yield "; ".join([*titles, title]), columns
                titles, columns, title = [], [], f"{part.title} (continued)"
            columns.append(column)
        titles.append(title)
    yield "; ".join(titles), columns


def _width(columns: Sequence[Filled]) -> int:
    """Characters that columns take, two spaces between them."""
    return sum(column.width for column in columns) + 2 * (len(columns) - 1)
