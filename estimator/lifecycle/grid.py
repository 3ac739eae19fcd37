"""The carbon intensity of electricity per country and per cloud region: the tables, and what their figures count.

Three tables meet here:

- countries: Our World in Data's figures (from Ember), read at run time from codecarbon's packaged files; LIFE-CYCLE
  (fuel supply and building the plants included);
- cloud regions: Google's yearly editions, `data/cloud_regions.toml`; OPERATIONAL from 2021 on;
- the world average: codecarbon's 475 gCO2e/kWh, from the IEA; its scope is not stated.

Figures of different scopes are not comparable: whoever prints an `Intensity` prints its scope and its year.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeGuard

from estimator.base.errors import RegionError
from estimator.base.packaged import own_table

Kind = Literal["world", "country", "cloud region", "given"]

Scope = Literal["operational", "life-cycle", "unstated"]
"""operational: emitted while generating; life-cycle: with fuel supply, building, end of life; unstated: not known."""

_COUNTRY_SOURCE = "Our World in Data from Ember, https://ourworldindata.org/grapher/carbon-intensity-electricity"
_ALIASES = {
    "america": "USA",
    "britain": "GBR",
    "burma": "MMR",
    "czech republic": "CZE",
    "dr congo": "COD",
    "drc": "COD",
    "great britain": "GBR",
    "holland": "NLD",
    "ivory coast": "CIV",
    "macau": "MAC",
    "macedonia": "MKD",
    "republic of korea": "KOR",
    "swaziland": "SWZ",
    "turkiye": "TUR",
    "uae": "ARE",
    "uk": "GBR",
    "viet nam": "VNM",
}


@dataclass(frozen=True)
class Intensity:
    """A carbon intensity (the papers' emission factor EF), in kgCO2e per kWh, with what it is and where it is from.

    `region` is the canonical name, `code` what `--region` takes to find this very figure again, `year` the year that
    the figure describes (None: not stated), `location` where a cloud region stands, `note` a caution to print, or "".
    """

    region: str
    kind: Kind
    carbon_intensity_kg_per_kwh: float
    year: int | None
    scope: Scope
    source: str
    code: str = ""
    location: str = ""
    note: str = ""


@cache
def world_average() -> Intensity:
    """The world average that codecarbon packages, with the source that it names: the default, a stated assumption."""
    file = "carbon_intensity_per_source.json"
    table = _codecarbon(file)
    value, source = table.get("world_average"), table.get("world_average_source", "its source is not stated")
    if not _is_intensity(value):
        raise _damaged(f"{file} holds no world average")
    origin = f"{source}, packaged in {_codecarbon_version()}"
    note = "neither the year nor the scope is stated"
    return Intensity("world", "world", value / 1000, None, "unstated", origin, code="world", note=note)


@cache
def countries() -> Mapping[str, Intensity]:
    """The countries of codecarbon's packaged file by ISO 3166 three-letter code; one without a figure is left out."""
    file = "global_energy_mix.json"
    rows = _codecarbon(file).items()
    found = {code: country for code, row in rows if (country := _country(code, row)) is not None}
    if not found:
        raise _damaged(f"{file} is not laid out as expected")
    return MappingProxyType(found)


@cache
def cloud_regions() -> tuple[Intensity, ...]:
    """Every edition of every cloud region, by region and newest first."""
    every = (region for edition in own_table("cloud_regions.toml")["edition"] for region in _edition(edition))
    return tuple(sorted(every, key=lambda cloud: (cloud.region, -(cloud.year or 0))))


@cache
def country_codes() -> Mapping[str, str]:
    """The three-letter code of every name, code and alias of a country, as `key` writes them."""
    own = {key(country.region): code for code, country in countries().items()}
    return MappingProxyType(_iso_codes() | _ALIASES | {key(code): code for code in countries()} | own)


def knows_two_letter_codes() -> bool:
    """Whether ISO's two-letter codes are known: they come from pycountry, which recent versions of codecarbon bring."""
    return bool(_iso_codes())


def key(name: str) -> str:
    """`name` without case, accents and punctuation, its words parted by single spaces: the form that is compared."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[-_\s]+", " ", re.sub(r"[.,'’()]", "", bare)).split())


def _country(code: str, row: Any) -> Intensity | None:
    """One row of codecarbon's countries; None where it holds no figure."""
    value = row.get("carbon_intensity") if isinstance(row, dict) else None
    if not _is_intensity(value):
        return None
    name, year = row.get("country_name"), row.get("year")
    if not isinstance(name, str) or not isinstance(year, int | None):
        raise _damaged(f"the row {code} of global_energy_mix.json is not laid out as expected")
    source = f"{_COUNTRY_SOURCE}, packaged in {_codecarbon_version()}"
    return Intensity(name, "country", value / 1000, year, "life-cycle", source, code=code, note=_zero_note(value))


def _edition(edition: dict[str, Any]) -> Iterator[Intensity]:
    """The regions of one edition of `cloud_regions.toml`."""
    year, scope, source = edition["year"], edition["scope"], edition["source"]
    for name, row in edition["region"].items():
        kg, note = row["g_per_kwh"] / 1000, _zero_note(row["g_per_kwh"])
        yield Intensity(name, "cloud region", kg, year, scope, source, f"{name}@{year}", row["location"], note)


@cache
def _iso_codes() -> dict[str, str]:
    """ISO 3166: three-letter codes by official and common name and by two-letter code; empty without pycountry."""
    path = _package_file("pycountry", "databases", "iso3166-1.json")
    rows = _json(path).get("3166-1", []) if path else []
    fields = ("official_name", "common_name", "name", "alpha_3", "alpha_2")
    return {key(row[field]): row["alpha_3"] for field in fields for row in rows if {field, "alpha_3"} <= row.keys()}


def _is_intensity(value: object) -> TypeGuard[float]:
    """Whether `value` is a number that can be a carbon intensity."""
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _zero_note(value: float) -> str:
    """A caution where the published figure is 0, lest it be taken for a missing one."""
    return "published as 0, not missing" if value == 0 else ""


def _codecarbon(file: str) -> dict[str, Any]:
    """One of codecarbon's packaged tables, read without importing codecarbon (its import takes seconds)."""
    path = _package_file("codecarbon", "data", "private_infra", file)
    if path is None:
        raise _damaged(f"codecarbon or its file {file} is missing")
    return _json(path)


def _package_file(package: str, *parts: str) -> Path | None:
    """The file `parts` of an installed package, found without importing the package, or None."""
    spec = util.find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((path for folder in folders if (path := Path(folder, *parts)).is_file()), None)


def _json(path: Path) -> dict[str, Any]:
    """The object that a packaged JSON file holds."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(f"{path.name} cannot be read") from error
    if not isinstance(content, dict):
        raise _damaged(f"{path.name} is not laid out as expected")
    return content


def _damaged(what: str) -> RegionError:
    """The error for packaged data that is missing or not as expected."""
    return RegionError(
        f"{what}: mend it with `pip install --force-reinstall codecarbon`, or give the carbon intensity itself with "
        "`--carbon-intensity G` (gCO2e/kWh)"
    )


@cache
def _codecarbon_version() -> str:
    """codecarbon with its version, for the sources."""
    try:
        return f"codecarbon {metadata.version('codecarbon')}"
    except metadata.PackageNotFoundError:
        return "codecarbon"
