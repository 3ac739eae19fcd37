"""The tables of carbon intensities: published figures by hand, and what happens where packaged data is missing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from estimator.base.errors import RegionError
from estimator.lifecycle import grid
from estimator.lifecycle.carbon import carbon_kg, find_region, regions

# Deng, Huang and Lu, GREEN 2023, Table II (gCO2eq/kWh), with the region that stands at each location.
PRINTED = {
    ("asia-east1", "Taiwan"): 456,
    ("asia-east2", "Hong Kong"): 360,
    ("asia-northeast1", "Tokyo"): 464,
    ("asia-south1", "Mumbai"): 670,
    ("asia-southeast1", "Singapore"): 372,
    ("australia-southeast1", "Sydney"): 598,
    ("australia-southeast2", "Melbourne"): 521,
    ("europe-central2", "Warsaw"): 576,
    ("europe-north1", "Finland"): 127,
    ("europe-southwest1", "Madrid"): 121,
    ("europe-west1", "Belgium"): 110,
    ("europe-west2", "London"): 172,
    ("europe-west9", "Paris"): 59,
    ("northamerica-northeast2", "Toronto"): 29,
    ("southamerica-east1", "São Paulo"): 129,
    ("us-central1", "Iowa"): 394,
    ("us-east1", "South Carolina"): 434,
    ("us-east4", "Northern Virginia"): 309,
    ("us-south1", "Dallas"): 296,
    ("us-west1", "Oregon"): 60,
    ("us-west2", "Los Angeles"): 190,
    ("us-west3", "Salt Lake City"): 448,
    ("us-west4", "Las Vegas"): 365,
}
EVERY = regions()


def packaged(file: str) -> dict[str, Any]:
    spec = importlib.util.find_spec("codecarbon")
    assert spec is not None and spec.origin is not None
    content: dict[str, Any] = json.loads(
        (Path(spec.origin).parent / "data" / "private_infra" / file).read_text("utf-8")
    )
    return content


@pytest.fixture
def fresh() -> Iterator[None]:
    caches = (
        grid.world_average,
        grid.countries,
        grid.country_codes,
        grid._iso_codes,
    )
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize(("place", "grams"), PRINTED.items(), ids=str)
def test_the_papers_table(place: tuple[str, str], grams: float) -> None:
    found = find_region(f"{place[0]}@2021")
    assert found.carbon_intensity_kg_per_kwh == pytest.approx(grams / 1000)
    assert (found.location, found.year, found.scope, found.kind) == (place[1], 2021, "operational", "cloud region")
    assert "Table II" in found.source


def test_the_papers_arithmetic() -> None:
    # The same paper's slides: 143.8 MWh are 64.4 t in Salt Lake City and 8.6 t in Oregon.
    energy_j = 143.8e3 * 3.6e6
    assert carbon_kg(energy_j, find_region("us-west3@2021")) == pytest.approx(64.4e3, rel=1e-3)
    assert carbon_kg(energy_j, find_region("us-west1@2021")) == pytest.approx(8.6e3, rel=5e-3)


def test_the_newest_edition_is_the_default_and_the_older_stands_beside_it() -> None:
    newest = find_region("us-west1")
    assert (newest.carbon_intensity_kg_per_kwh, newest.year) == (pytest.approx(0.07923), 2024)
    assert newest == find_region("us-west1", 2024) == find_region("gcp:us-west1@2024")
    assert [edition.year for edition in regions("us-west1")] == [2024, 2021]


def test_a_published_zero_is_no_missing_value() -> None:
    montreal = find_region("northamerica-northeast1@2021")
    assert montreal.carbon_intensity_kg_per_kwh == 0
    assert "not missing" in montreal.note
    assert all(bool(region.carbon_intensity_kg_per_kwh) != ("published as 0" in region.note) for region in EVERY)


@pytest.mark.parametrize("name", ["germany", "Germany", " GERMANY ", "DEU", "deu", "de"])
def test_a_country_by_name_and_code(name: str) -> None:
    found = find_region(name)
    row = packaged("global_energy_mix.json")["DEU"]
    assert (found.region, found.kind, found.code) == ("Germany", "country", "DEU")
    assert found.carbon_intensity_kg_per_kwh * 1000 == pytest.approx(row["carbon_intensity"])
    assert found.year == row["year"]
    assert found.scope == "life-cycle"  # the chart that codecarbon names: "Lifecycle carbon intensity", Ember
    assert "codecarbon" in found.source and "Our World in Data" in found.source


def test_germany_and_the_world_by_hand() -> None:
    if packaged("global_energy_mix.json")["DEU"]["year"] == 2023:
        assert find_region("germany").carbon_intensity_kg_per_kwh == pytest.approx(0.38095)
    world = find_region("world")
    assert world == grid.world_average() == find_region("Global")
    assert world.carbon_intensity_kg_per_kwh == pytest.approx(0.475)
    assert (world.year, world.scope, world.kind) == (None, "unstated", "world")
    assert "iea.org" in world.source


def test_every_figure_says_what_it_is() -> None:
    for region in EVERY:
        assert region.source and region.scope in {"operational", "life-cycle", "unstated"}
        assert 0 <= region.carbon_intensity_kg_per_kwh < 2
        if region.kind == "cloud region":
            assert region.location and region.year is not None
            assert region.scope == ("life-cycle" if region.year < 2021 else "operational")


def test_importing_it_imports_neither_codecarbon_nor_torch() -> None:
    code = (
        "import sys; from estimator.lifecycle import carbon; carbon.find_region('germany'); "
        "sys.exit(bool({'codecarbon', 'torch', 'pandas', 'pycountry'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(grid.__file__).parents[2]).returncode == 0


def test_codecarbon_missing(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid.util, "find_spec", lambda name: None)
    for find in (lambda: find_region("germany"), grid.world_average, regions):
        with pytest.raises(RegionError, match=r"pip install .*codecarbon.*--carbon-intensity G"):
            find()
    assert find_region("us-west1").location == "Oregon"  # our own table needs no codecarbon


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"DEU": 3}', '{"DEU": {"carbon_intensity": 380.95}}', "\xff"])
def test_codecarbon_laid_out_anew(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    file = tmp_path / "packaged.json"
    file.write_bytes(content.encode("latin-1"))
    monkeypatch.setattr(grid, "_package_file", lambda package, *parts: file if package == "codecarbon" else None)
    for find in (lambda: find_region("germany"), grid.world_average):
        with pytest.raises(RegionError, match=r"pip install .*codecarbon.*--carbon-intensity G"):
            find()


def test_a_country_without_a_figure_is_left_out_not_zero(
    fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "packaged.json"
    rows: dict[str, Any] = {
        "DEU": {"country_name": "Germany", "carbon_intensity": None},
        "FRA": {"country_name": "France"},
    }
    rows["world_average"] = 475
    file.write_text(json.dumps(rows | {"USA": {"country_name": "United States", "carbon_intensity": 369}}))
    monkeypatch.setattr(grid, "_package_file", lambda package, *parts: file if package == "codecarbon" else None)
    assert list(grid.countries()) == ["USA"]
    assert find_region("usa").year is None
    for name in ("germany", "FRA"):
        with pytest.raises(RegionError, match="--carbon-intensity"):
            find_region(name)
    with pytest.raises(RegionError, match="pip install pycountry"):
        find_region("us")
