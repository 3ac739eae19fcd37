"""The catalogue and the carbon intensities as tables for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from estimator import carbon, catalogue
from estimator.grid import Intensity
from estimator.units import si


def _columns(title: str, *columns: str, right: frozenset[str] = frozenset()) -> Table:
    table = Table(box=None, pad_edge=False, title=title or None, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", header_style="dim", overflow="fold")
    return table


def _rate(value: float | None, unit: str) -> str:
    return "-" if value is None else si(value, unit)


def _all_hardware() -> Table:
    rates = ("float32", "bfloat16", "bandwidth", "TDP")
    table = _columns("Devices of the catalogue (dense rates)", "name", *rates, right=frozenset(rates))
    for device in catalogue.catalogue().values():
        table.add_row(
            device.name,
            _rate(device.flop_per_s("float32"), "FLOP/s"),
            _rate(device.flop_per_s("bfloat16"), "FLOP/s"),
            _rate(device.bandwidth_bytes_per_s, "B/s"),
            _rate(device.tdp_w, "W"),
        )
    return table


def _show_device(name: str, console: Console) -> None:
    device = catalogue.find(name)
    year = f", {device.year}" if device.year else ""
    title = f"{device.title} ({device.name}), {device.architecture}{year}"
    table = _columns("", "fact", "value", "status", "source", right=frozenset({"value"}))
    sources = list(dict.fromkeys(fact.source for fact in device.facts.values()))
    for fact_name, fact in device.facts.items():
        value = f"{fact.value:g}" if fact.unit == "1" else si(fact.value, fact.unit)
        table.add_row(fact_name, value, fact.status, f"\\[{sources.index(fact.source) + 1}]")
    console.print(f"[bold]{escape(title)}[/]")
    console.print(table)
    for number, source in enumerate(sources, 1):
        console.print(f"[dim]\\[{number}] {escape(source)}[/]")


def show_hardware(name: str | None) -> None:
    """Print all devices, or every fact of the one that `name` means. Raises `HardwareError` for an unknown name."""
    console = Console(highlight=False)
    if name:
        _show_device(name, console)
    else:
        console.print(_all_hardware())
        console.print("\n[dim]`estimate hardware NAME` shows every value with its source.[/]")


def _place(intensity: Intensity) -> str:
    return f"{intensity.region}, {intensity.location}" if intensity.location else intensity.region


def show_regions(name: str | None) -> None:
    """Print the carbon intensities of all regions, or of those that match `name`."""
    found = carbon.regions(name)
    if not found and name:
        found = (carbon.find_region(name),)
    table = _columns(
        "Carbon intensity of electricity",
        "--region",
        "place",
        "gCO2e/kWh",
        "year",
        "scope",
        right=frozenset({"gCO2e/kWh"}),
    )
    for i in found:
        grams = f"{i.carbon_intensity_kg_per_kwh * 1000:.0f}"
        table.add_row(i.code, _place(i), grams, str(i.year or "-"), i.scope)
    console = Console(highlight=False)
    console.print(table)
    for source in dict.fromkeys(i.source for i in found):
        console.print(f"[dim]source: {source}[/]")
    for note in dict.fromkeys(f"{i.code}: {i.note}" for i in found if i.note and name):
        console.print(f"[dim]{note}[/]")
