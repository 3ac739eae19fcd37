"""Every published row that is fitted beside the networks with joules (`calibration.published.rows`)."""

from __future__ import annotations

from pathlib import Path

from calibration.published import float32_rows, network_rows, op_rows
from calibration.published.rows import Row


def read(directory: Path) -> list[Row]:
    """Single operations and whole networks, of all files that `directory` has."""
    return [row for source in (op_rows, float32_rows, network_rows) for row in source.read(directory)]
