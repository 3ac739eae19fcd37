"""Commands of the other packages under the name `estimate`: measure, meters, calibrate and verify."""

from __future__ import annotations

import click

_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
"""These commands read their options themselves: they are the same as in `python -m profilers` and `-m calibration`."""


@click.command("measure", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def measure_command(arguments: tuple[str, ...]) -> None:
    """Run a command and say what it really drew."""
    _profilers("measure", arguments)


@click.command("meters", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def meters_command(arguments: tuple[str, ...]) -> None:
    """Show what can be measured here; if not, why, and the remedy."""
    _profilers("meters", arguments)


@click.command("calibrate", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def calibrate_command(arguments: tuple[str, ...]) -> None:
    """Learn this machine by measuring it for about 5 minutes."""
    _calibration("calibrate", arguments)


@click.command("verify", context_settings=_PASSED_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def verify_command(arguments: tuple[str, ...]) -> None:
    """Predict MODEL, then run and measure it here, and show both."""
    _calibration("verify", arguments)


def _calibration(command: str, arguments: tuple[str, ...]) -> None:
    from calibration.__main__ import main as calibration_main

    calibration_main([command, *arguments], prog_name="estimate")


def _profilers(command: str, arguments: tuple[str, ...]) -> None:
    from profilers.__main__ import main as profilers_main

    profilers_main([command, *arguments], prog_name="estimate")
