"""`--limit NAME=AMOUNT`: how much building and tracing one model may take (`estimator.base.budget`)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

import click

from estimator.base.budget import Limits, limited
from estimator.lifecycle import spellings

_NAMES = tuple(field.name for field in dataclasses.fields(Limits))
_BYTES = re.compile(r"(.*?\d[\d.]*\s*)([kmgt]?)(i?)b", re.IGNORECASE)
_EXAMPLE = "such as --limit seconds=60, --limit memory=4GB or --limit layers=400k"


def parsed(texts: Iterable[str]) -> dict[str, float]:
    """`seconds=60`, `memory=4GB`, `layers=400k` as limits by their names; raises `click.BadParameter`."""
    found = {}
    for text in texts:
        name, _, amount = text.partition("=")
        name = name.strip().lower()
        if name not in _NAMES:
            raise click.BadParameter(f"{text!r} names no limit ({', '.join(_NAMES)}): write one, {_EXAMPLE}.")
        try:
            found[name] = _bytes(amount) if name == "memory" else spellings.amount(amount)
        except ValueError:
            found[name] = 0.0
        if not found[name] > 0:  # nan too
            raise click.BadParameter(f"{text!r} is no limit: write an amount above 0, {_EXAMPLE}.")
    return found


def _bytes(text: str) -> float:
    """`4GB` is 4e9, `4GiB` 4 x 2**30; a bare number is bytes."""
    unit = _BYTES.fullmatch(text.strip())
    if unit is None:
        return spellings.amount(text)
    power = " kmgt".index(unit[2].lower() or " ")
    return spellings.amount(unit[1]) * float(1024 if unit[3] else 1000) ** power


def _set(ctx: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> None:
    ctx.with_resource(limited(**parsed(texts)))


limit_option = click.option(
    "--limit",
    multiple=True,
    expose_value=False,
    callback=_set,
    metavar="NAME=AMOUNT",
    help=f"How much reading one model may take: {', '.join(_NAMES)} (seconds=60, memory=4GB); repeatable.",
)
"""Sets the limits for as long as its command runs."""
