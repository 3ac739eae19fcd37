"""The zoo's models and families as tables for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from estimator.report.layout import columns, grid
from estimator.sources.zoo.table import PREFIX, families, models


def show() -> None:
    """Print every model with its parameters and what it is, and every family."""
    console = Console(highlight=False)
    rows = [(PREFIX + entry.name, f"{entry.parameters:,}", entry.title) for entry in models().values()]
    heads = columns("name", "parameters", "what it is", numbers=("parameters",))
    console.print(grid(heads, rows, console.width, title="Models, built without network or weights"))
    families_shown = [(PREFIX + family.name, family.title) for family in families().values()]
    console.print(Text(""))
    console.print(grid(columns("name", "what it is"), families_shown, console.width, title="For `estimate compare`"))
