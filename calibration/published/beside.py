"""Every published row that is fitted beside the networks with joules (`calibration.published.rows`)."""

from __future__ import annotations

from pathlib import Path

from calibration.published import float32_rows, network_rows, op_rows
from calibration.published.rows import Row


def read(directory: Path, limited: int | None = network_rows.LIMITED) -> list[Row]:
    """Single operations and whole networks, of all files that `directory` has; `limited`: see `network_rows.read`."""
    return [*op_rows.read(directory), *float32_rows.read(directory), *network_rows.read(directory, limited)]
