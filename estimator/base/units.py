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


_SPANS = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "days"), (365.25 * 86400.0, "years"))
_SPANS_FROM_S = (0.0, 120.0, 7200.0, 172_800.0, 2 * 365.25 * 86400.0)


def plain(value: float, digits: int = 2) -> str:
    """`value` with `digits` significant digits and no exponent: "0.21", "3.8", "1,200"."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"


def _span(seconds: float) -> tuple[float, str]:
    """The unit in which people say a time as long as `seconds`: its seconds, and its name."""
    return [span for span, least in zip(_SPANS, _SPANS_FROM_S, strict=True) if seconds >= least][-1]


def spent(seconds: float) -> str:
    """A time in two digits, in the unit that people say it in: "7.1 ms", "16 min", "3.2 days"."""
    size, name = _span(seconds)
    return si(seconds, "s", 2) if name == "s" else f"{plain(seconds / size)} {name}"


def spent_between(value: float, low: float, high: float) -> str:
    """A time in seconds with its interval, all in the unit of `value`: "16 min (8.2 to 31)"."""
    size, name = _span(value)
    if name == "s":
        return _between(value, low, high, "s")
    return f"{plain(value / size)} {name} ({plain(low / size)} to {plain(high / size)})"


def _between(value: float, low: float, high: float, unit: str) -> str:
    """`value` with an SI prefix, and its interval with the same one: "170 Wh (91 to 320)"."""
    told = si(value, unit, 2)
    prefix = told.split(" ")[1].removesuffix(unit)
    scale = next(10.0**exponent for exponent, one in _SI.items() if one == prefix)
    return f"{told} ({plain(low / scale)} to {plain(high / scale)})"


def electricity(value_j: float, low_j: float, high_j: float) -> str:
    """Joules with their interval in the unit that is on a bill: "170 Wh (91 to 320)"."""
    return _between(value_j / 3600, low_j / 3600, high_j / 3600, "Wh")


def mass(kilograms: float) -> str:
    """A mass in two digits: "65 g", "1.3 kg", "2.4 t"."""
    return si(kilograms / 1000, "t", 2) if kilograms >= 1000 else si(1000 * kilograms, "g", 2)
