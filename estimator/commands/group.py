"""The group of commands: `model` where none is named, and every error of ours one line and exit code 2."""

from __future__ import annotations

import io
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click_default_group import DefaultGroup

from estimator.base.errors import JoulecastError
from estimator.base.words import printable

_NEAR = 0.8
"""How like a command a word must be to be taken for it, mistyped (of 1: `difflib.get_close_matches`)."""


class Group(DefaultGroup):  # type: ignore[misc]
    """Runs `model` where no command is named; an error of ours is one line on stderr and exit code 2."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As click's, and an answer that cannot be written is an error of ours (a closed pipe is nobody's)."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without the µ of µJ
            sys.stdout.reconfigure(errors="replace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None:
                raise
            from estimator.report.streams import drop_stdout

            drop_stdout()
            reason = error.strerror or error
            click.echo(f"estimate: the answer cannot be written ({reason}): send it to another place", err=True)
            sys.exit(2)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """As its base's, but a word that is nearly a command is no model."""
        near = get_close_matches(cmd_name, self.commands, 1, _NEAR) if cmd_name.isalpha() else []
        if near and cmd_name not in self.commands and not Path(cmd_name).exists():
            raise click.UsageError(f"there is no command or file {cmd_name!r}: did you mean `estimate {near[0]}`?", ctx)
        command: click.Command | None = super().get_command(ctx, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, and an error of ours is one line."""
        try:
            return super().invoke(ctx)
        except JoulecastError as error:
            click.echo(f"estimate: {printable(error)}", err=True)
            ctx.exit(2)
