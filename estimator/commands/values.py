"""Numbers as the command line takes them: `100k`, `1.2M`, `1e6`. click calls an option's values by these names."""

from __future__ import annotations

import click

from estimator.lifecycle import spellings


def number(text: str) -> float:
    """The number that `text` means; raises `click.BadParameter` where it is none."""
    try:
        return spellings.amount(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a number, such as 100000, 100k, 1.2M or 1e6.") from None


def integer(text: str) -> int:
    """The whole number that `text` means; raises `click.BadParameter` where it is none."""
    try:
        return spellings.whole(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a whole number, such as 64, 1k or 1e3.") from None
