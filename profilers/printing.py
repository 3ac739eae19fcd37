"""Lines for a terminal: names of processes, devices and files in them are others' words, which may hold anything."""

from __future__ import annotations

import click


def say(line: object, *, err: bool = False) -> None:
    """Print one line; line breaks that are its own stay, other control characters (escape sequences) do not."""
    click.echo("\n".join(map(_shown, str(line).split("\n"))), err=err)


def _shown(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line)
