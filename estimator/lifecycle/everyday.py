"""What electricity compares to in everyday life; `estimator/data/everyday.toml` has the rows and sources."""

from __future__ import annotations

from estimator.base.packaged import own_table
from estimator.base.units import plain, spent


def compared(energy_j: float) -> str:
    """What takes as much as `energy_j` joules, a use chosen by their magnitude; "" where there are none."""
    if energy_j <= 0:
        return ""
    use = [row for row in own_table("everyday.toml")["use"] if row["from_j"] <= energy_j][-1]
    count = energy_j / use["joules"]
    return f"As much as {use['words'].format(count=plain(count), time=spent(count))}."
