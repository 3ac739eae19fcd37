"""The command `estimate hardware`: what is known of devices."""

from __future__ import annotations

import click


@click.command("hardware")
@click.argument("name", required=False)
def hardware_command(name: str | None) -> None:
    """List devices and calibrated profiles, or all facts of NAME.

    NAME is what --hardware takes: a device of the catalogue, a profile that `estimate calibrate` made, or its file.
    """
    from estimator.report import tables

    tables.show_hardware(name)
