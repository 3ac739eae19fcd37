"""The command `estimate zoo`: the models that have names here."""

from __future__ import annotations

import click


@click.command("zoo")
def zoo_command() -> None:
    """List the models that `estimate zoo:NAME` estimates."""
    from estimator.report import zoo

    zoo.show()
