"""The command `estimate regions`: what is known of grids."""

from __future__ import annotations

import click


@click.command("regions")
@click.argument("name", required=False)
def regions_command(name: str | None) -> None:
    """List carbon intensities of all regions, or of those like NAME.

    A region is a country or the region of a cloud.
    """
    from estimator.report import tables

    tables.show_regions(name)
