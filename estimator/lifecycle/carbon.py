"""From energy to CO2-equivalent: which carbon intensity a region has, and what a data centre adds to its computers.

The tables, and what their figures count, are described in `estimator.lifecycle.grid`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Literal

from estimator.base.errors import RegionError, ScenarioError
from estimator.base.facts import Fact
from estimator.base.packaged import own_table
from estimator.base.units import kwh
from estimator.lifecycle.grid import (
    Intensity,
    cloud_regions,
    countries,
    country_codes,
    key,
    knows_two_letter_codes,
    world_average,
)

__all__ = [
    "Intensity",
    "carbon_kg",
    "default_pue",
    "find_region",
    "given",
    "pue_history",
    "regions",
    "world_average",
]

_REMEDY = "list the regions with `estimate regions`, or give the figure itself with `--carbon-intensity G` (gCO2e/kWh)"
_WORLD_NAMES = frozenset({"world", "world average", "global"})
_AMBIGUOUS = {"korea": ("KOR", "PRK"), "virgin islands": ("VGB", "VIR")}


def carbon_kg(energy_j: float, intensity: Intensity) -> float:
    """Emissions in kgCO2e of `energy_j` joules drawn from the grid: CO2eq = EC * EF.

    EC is the energy in kWh, EF the carbon intensity in kgCO2e/kWh. The facility's energy is meant: apply the PUE to
    the energy first. Source: Gitzel, Platenius-Mohr and Burger 2023, section 3.8.
    """
    return kwh(energy_j) * intensity.carbon_intensity_kg_per_kwh


def given(g_per_kwh: float) -> Intensity:
    """The carbon intensity that the user states, in gCO2e/kWh: finite and not negative."""
    if not (math.isfinite(g_per_kwh) and g_per_kwh >= 0):
        raise ScenarioError(f"--carbon-intensity is a number of gCO2e/kWh from 0 up, not {g_per_kwh}.")
    note = "below 1 gCO2e/kWh: the unit is grams, not kilograms" if 0 < g_per_kwh < 1 else ""
    return Intensity("given", "given", g_per_kwh / 1000, None, "unstated", "--carbon-intensity", note=note)


def find_region(name: str, year: int | None = None) -> Intensity:
    """The carbon intensity of a country (name, ISO code, usual alias), a cloud region, or "world".

    Case, accents and punctuation do not matter. A cloud region gives its newest edition; `year`, or a suffix as in
    `us-west1@2021`, asks for another. Only exact names are taken: `us-west-1` (Amazon's) is not `us-west1`
    (Google's), `oregon` is no region; the error names the nearest.
    """
    place, year = _split_year(name, year)
    provider = _provider(place)
    if provider in {"aws", "azure"}:
        raise RegionError(
            f"{_short(place)} is a region of a cloud that publishes no grid carbon intensity: give the country it "
            "stands in (as in `--region IRL`), or the figure itself with `--carbon-intensity G` (gCO2e/kWh)"
        )
    wanted = key(place.partition(":")[2] if provider == "google" else place)
    editions = tuple(cloud for cloud in cloud_regions() if key(cloud.region) == wanted)
    if editions:
        return _of_year(editions, year)
    found = world_average() if wanted in _WORLD_NAMES else _country(wanted, place)
    if year not in {None, found.year}:
        held = "without a year" if found.year is None else f"for {found.year}"
        raise RegionError(f"{found.region} is known {held} only, not for {year}: leave the year away, or {_REMEDY}")
    return found


def regions(name: str | None = None) -> tuple[Intensity, ...]:
    """All that is known: the world, the countries by name, the cloud regions with their editions, newest first.

    With `name`, only those that it names exactly, which come first, or in which a word begins with it (region,
    location or code).
    """
    by_name = sorted(countries().values(), key=lambda country: country.region)
    known = (world_average(), *by_name, *cloud_regions())
    if name is None:
        return known
    wanted = key(name)
    exact = country_codes().get(wanted)
    named = [region for region in known if region.code == exact]
    mentioned = [region for region in known if region not in named and _mentions(region, wanted)]
    return (*named, *mentioned) or (find_region(name),)


def default_pue() -> Fact:
    """The PUE that holds where nobody gave one: 1.58, the world average of 2020.

    Source: Uptime Institute, as Gitzel, Platenius-Mohr and Burger 2023, section 3.4, take it.
    """
    return pue_history()[own_table("pue.toml")["default"]]


def pue_history() -> Mapping[int, Fact]:
    """The world averages of the Uptime Institute's surveys by year: facility energy over IT energy, dimensionless."""
    surveys = own_table("pue.toml")["survey"]
    return {row["year"]: Fact(row["value"], row["unit"], row["source"], row["status"]) for row in surveys}


def _of_year(editions: tuple[Intensity, ...], year: int | None) -> Intensity:
    """The edition of `year` among a cloud region's `editions` (newest first), the newest where no year is asked for."""
    matching = [edition for edition in editions if year in {None, edition.year}]
    if not matching:
        held = " or ".join(f"`{edition.code}`" for edition in editions)
        raise RegionError(f"{editions[0].region} has no edition of {year}: take {held}")
    return matching[0]


def _country(wanted: str, name: str) -> Intensity:
    """The country with the key `wanted`; `name` is what the user typed."""
    if wanted in _AMBIGUOUS:
        choices = " or ".join(f"`{code}` ({countries()[code].region})" for code in _AMBIGUOUS[wanted])
        raise RegionError(f"{_short(name)} is ambiguous: say {choices}")
    code = country_codes().get(wanted)
    if code is None:
        raise _unknown(name)
    if code not in countries():
        raise RegionError(f"codecarbon packages no carbon intensity for {_short(name)} ({code}): {_REMEDY}")
    return countries()[code]


def _unknown(name: str) -> RegionError:
    """The error for a name that nothing has, with the nearest that something has."""
    wanted = key(name)[:60]
    known = regions()
    labels = {text: _label(region) for region in known for text in _texts(region)}
    inside = [_label(region) for region in known if _mentions(region, wanted)]
    close = [labels[text] for text in difflib.get_close_matches(wanted, labels, n=6, cutoff=0.7)]
    nearest = list(dict.fromkeys(inside + close))[:3] if len(wanted) > 2 else []
    hint = f"the nearest known: {', '.join(nearest)}; " if nearest else ""
    if len(wanted) == 2 and not knows_two_letter_codes():
        hint = "two-letter codes need `pip install pycountry`; "
    return RegionError(f"unknown region {_short(name)}: {hint}{_REMEDY}")


def _label(region: Intensity) -> str:
    """How an error names a region: "Germany", "us-west1 (Oregon)"."""
    return f"{region.region} ({region.location})" if region.location else region.region


def _short(name: str) -> str:
    """What the user typed, quoted and cut to a length that an error can carry."""
    return repr(name if len(name) <= 60 else f"{name[:57]}...")


def _texts(region: Intensity) -> tuple[str, ...]:
    """The texts, as `key` writes them, in which a user may look for `region`."""
    return tuple(key(text) for text in (region.region, region.location, region.code) if text)


def _mentions(region: Intensity, wanted: str) -> bool:
    """Whether a word of the region's texts begins with the key `wanted`."""
    return wanted != "" and any(f" {wanted}" in f" {text}" for text in _texts(region))


def _split_year(name: str, year: int | None) -> tuple[str, int | None]:
    """`name` without its `@year`, and the year asked for there or beside it."""
    place, at, suffix = name.strip().partition("@")
    if not at:
        return place, year
    if not re.fullmatch(r"[0-9]{4}", suffix):
        raise RegionError(f"what follows the @ in {_short(name)} is no year: write it as in `us-west1@2021`")
    if year not in {None, int(suffix)}:
        raise RegionError(f"{_short(name)} contradicts the year {year}: give the year once")
    return place, int(suffix)


def _provider(place: str) -> Literal["aws", "azure", "google", ""]:
    """The cloud that `place` belongs to by its prefix (`aws:`) or, for Amazon, by its spelling (`eu-west-1`)."""
    prefix = place.casefold().partition(":")[0] if ":" in place else ""
    if prefix in {"gcp", "google"}:
        return "google"
    if prefix == "aws" or re.fullmatch(r"[a-z]{2}(-[a-z]{2,12}){1,2}-[0-9]", place.casefold()):
        return "aws"
    return "azure" if prefix == "azure" else ""
