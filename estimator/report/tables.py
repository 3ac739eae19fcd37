"""The catalogue and the carbon intensities as tables for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from estimator.base.units import si
from estimator.base.words import printable
from estimator.hardware import catalogue, profile_file, selection
from estimator.lifecycle import carbon
from estimator.lifecycle.grid import Intensity
from estimator.report import profiles
from estimator.report.layout import columns, grid


def _rate(value: float | None, unit: str) -> str:
    return "-" if value is None else si(value, unit)


def _show_all(console: Console) -> None:
    rates = ("float32", "bfloat16", "bandwidth", "TDP")
    rows = [
        (
            device.name,
            _rate(device.flop_per_s("float32"), "FLOP/s"),
            _rate(device.flop_per_s("bfloat16"), "FLOP/s"),
            _rate(device.bandwidth_bytes_per_s, "B/s"),
            _rate(device.tdp_w, "W"),
        )
        for device in catalogue.catalogue().values()
    ]
    heads = columns("name", *rates, numbers=rates)
    console.print(grid(heads, rows, console.width, title="Devices of the catalogue (dense rates)"))
    profiles.show_kept(console)
    console.print(Text("\n`estimate hardware NAME` shows every value with its source.", style="dim"))


def _show_device(device: catalogue.Device, console: Console) -> None:
    year = f", {device.year}" if device.year else ""
    sources = list(dict.fromkeys(fact.source for fact in device.facts.values()))
    rows = []
    for fact_name, fact in device.facts.items():
        value = f"{fact.value:g}" if fact.unit == "1" else si(fact.value, fact.unit)
        rows.append((fact_name, value, fact.status, f"[{sources.index(fact.source) + 1}]"))
    console.print(Text(f"{device.title} ({device.name}), {device.architecture}{year}", style="bold"))
    console.print(grid(columns("fact", "value", "status", "source", numbers=("value",)), rows, console.width))
    for number, source in enumerate(sources, 1):
        _print_dim(console, f"[{number}] {source}")


def _print_dim(console: Console, line: str) -> None:
    console.print(Text(printable(line), style="dim", overflow="fold"))


def show_hardware(name: str | None) -> None:
    """Print all devices and calibrated profiles, or every fact of what `--hardware NAME` means.

    Raises `HardwareError` for an unknown name.
    """
    console = Console(highlight=False)
    if not name:
        _show_all(console)
    elif path := profile_file.path_of(name):
        profiles.show_profile(path, console)
    else:
        _show_device(selection.device_of(name), console)


def _place(intensity: Intensity) -> str:
    return f"{intensity.region}, {intensity.location}" if intensity.location else intensity.region


def show_regions(name: str | None) -> None:
    """Print the carbon intensities of all regions, or of those that match `name`."""
    found = carbon.regions(name)
    if not found and name:
        found = (carbon.find_region(name),)
    heads = columns("--region", "place", "gCO2e/kWh", "year", "scope", numbers=("gCO2e/kWh",))
    rows = []
    for i in found:
        grams = f"{i.carbon_intensity_kg_per_kwh * 1000:.0f}"
        rows.append((i.code, _place(i), grams, str(i.year or "-"), i.scope))
    console = Console(highlight=False)
    console.print(grid(heads, rows, console.width, title="Carbon intensity of electricity"))
    for source in dict.fromkeys(i.source for i in found):
        _print_dim(console, f"source: {source}")
    for note in dict.fromkeys(f"{i.code}: {i.note}" for i in found if i.note and name):
        _print_dim(console, note)
