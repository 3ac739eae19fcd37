"""Units: SI inside the program, kWh and kg only at its edges, and short text for people."""

from __future__ import annotations

import math

JOULES_PER_KWH = 3.6e6
"""One kilowatt-hour in joules (exact)."""

_SI = {
    -12: "p",
    -9: "n",
    -6: "µ",
    -3: "m",
    0: "",
    3: "k",
    6: "M",
    9: "G",
    12: "T",
    15: "P",
    18: "E",
    21: "Z",
    24: "Y",
}


def kwh(energy_j: float) -> float:
    """Energy in kWh of `energy_j` joules."""
    return energy_j / JOULES_PER_KWH


def si(value: float, unit: str, digits: int = 3) -> str:
    """`value` with an SI prefix and `digits` significant digits: `si(8.2e9, "FLOP")` is "8.20 GFLOP"."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    exponent = max(-12, min(24, 3 * math.floor(math.log10(abs(value)) / 3)))
    scaled = float(f"{value / 10.0**exponent:.{digits}g}")
    if abs(scaled) >= 1000 and exponent < 24:  # 999.9 rounded up to the next prefix
        exponent, scaled = exponent + 3, scaled / 1000
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(scaled))))
    return f"{scaled:.{decimals}f} {_SI[exponent]}{unit}"


def duration(seconds: float) -> str:
    """A duration for people: "12.3 ms", "4 min 10 s", "3 h 05 min", "12 d 4 h", "3.2 years"."""
    if seconds < 60:
        return si(seconds, "s")
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if hours < 1:
        return f"{int(minutes)} min {int(seconds % 60):02d} s"
    if days < 1:
        return f"{int(hours)} h {int(minutes % 60):02d} min"
    if days < 365:
        return f"{int(days)} d {int(hours % 24)} h"
    return f"{days / 365.25:.1f} years"
