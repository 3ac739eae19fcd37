"""Measurements and meters as text for a terminal. Every figure stands beside the word that says where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from profilers.discovery import Discovery
from profilers.measurement import Measurement, Total
from profilers.reading import Reading

_J_PER_KWH = 3.6e6


def measurement_lines(seen: Measurement) -> Iterator[str]:
    """What a window read, component by component, and the totals."""
    for reading in seen.readings:
        yield from _reading_lines(seen, reading)
    yield from _total_lines("read from sensors", seen.total)
    if seen.modelled.components:
        yield from _total_lines("MODELLED, not measured", seen.modelled)
    yield f"{'duration':<24} {seconds(seen.duration_s)}"
    if seen.interrupted is not None:
        yield f"interrupted ({seen.interrupted}): this is what was read until then"
    for busy in seen.busy:
        allowed = " (allowed)" if seen.busy_allowed else ""
        yield f"BUSY{allowed}: {busy}: this window is not clean, and no calibration takes it"
    yield from seen.notes


def meters_lines(found: Discovery) -> Iterator[str]:
    """What a machine can read, then what it lacks, with the reason and the remedy."""
    for meter in found.meters:
        for part in meter.components():
            step = f", refreshed every {part.refresh_s * 1e3:.3g} ms" if part.refresh_s else ""
            whole = "" if part.in_total else ", holds the packages: not added to them"
            device = f"  {part.device}" if part.device and part.device != part.name else ""
            how = (
                "MODELLED from load and TDP, not measured"
                if meter.name == "codecarbon"
                else f"read through {meter.name}"
            )
            yield f"{part.name:<12} {how}{step}{whole}{device}"
    yield from (f"note: {note}" for note in found.notes)
    for lacking in found.missing:
        yield f"{lacking.name:<12} absent: {lacking.why}"
        yield f"{'':<12} remedy: {lacking.remedy}"
    if not any(meter.name != "codecarbon" and meter.components() for meter in found.meters):
        rest = (
            "`measure` prints modelled figures, and no calibration takes them"
            if found.meters
            else "nothing to measure with"
        )
        yield f"no sensor can be read here: {rest}"


def joules(energy_j: float) -> str:
    """Joules with four digits, and kWh beside them where they are many."""
    text = f"{energy_j:.4g} J" if energy_j < 10_000 else f"{energy_j:,.0f} J"
    return text if energy_j < 36_000 else f"{text} ({energy_j / _J_PER_KWH:.4g} kWh)"


def seconds(duration_s: float) -> str:
    """Seconds, with hours and minutes beside them where they are many."""
    if duration_s < 120:
        return f"{duration_s:.4g} s"
    hours, minutes = divmod(round(duration_s / 60), 60)
    return f"{duration_s:,.0f} s ({hours} h {minutes} min)"


def _reading_lines(seen: Measurement, reading: Reading) -> Iterator[str]:
    name = reading.component.name
    if reading.energy_j is None:
        yield f"{name:<13} {reading.status:<10} {reading.reason}"
        if reading.partial is not None:
            yield f"{'':<24} until {seconds(reading.partial.until_s)}: {joules(reading.partial.energy_j)}"
    else:
        power = "" if reading.power_w is None else f", {reading.power_w:.4g} W"
        edges = "" if reading.uncertainty_j is None else f" +- {joules(reading.uncertainty_j)}"
        yield f"{name:<13} {reading.status:<10} {joules(reading.energy_j)}{edges}{power}"
    if seen.baseline is not None and reading.energy_j is not None:
        net_j, idle_w = seen.net_j(name), seen.baseline.power_w.get(name)
        idle = "no idle baseline" if idle_w is None else f"idle {idle_w:.4g} W"
        net = (
            "not above idle" if net_j is None and idle_w is not None else "unknown" if net_j is None else joules(net_j)
        )
        yield f"{'':<24} net of idle: {net} ({idle})"
    if reading.cross_check is not None:
        check = reading.cross_check
        word = "agrees" if check.agrees else "DISAGREES"
        yield (
            f"{'':<24} integrated power {word}: {joules(check.integrated_j)} "
            f"({check.relative_difference:+.1%}, bound {check.bound:.1%})"
        )
    yield from (f"{'':<24} {note}" for note in reading.notes)


def _total_lines(title: str, total: Total) -> Iterator[str]:
    if total.energy_j is not None:
        yield f"{title:<24} {joules(total.energy_j)} {total.status} ({_names(total.components)})"
    elif total.missing:
        known = f"; {_names(total.components)} alone is no total" if total.components else ""
        yield f"{title:<24} unknown: {_names(total.missing)} absent{known}"
    else:
        yield f"{title:<24} nothing: this machine has no sensor that can be read"


def _names(names: Sequence[str]) -> str:
    return " + ".join(names)
