"""Carbon: how a region's name is resolved, emissions by hand and by their laws, and the PUE."""

from __future__ import annotations

import math

import pytest
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from estimator.base.errors import RegionError, ScenarioError
from estimator.lifecycle import grid
from estimator.lifecycle.carbon import Intensity, carbon_kg, default_pue, find_region, given, pue_history, regions

EVERY = regions()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("usa", "USA"),
        ("U.S.A.", "USA"),
        ("us", "USA"),
        ("America", "USA"),
        ("uk", "GBR"),
        ("gb", "GBR"),
        ("south_korea", "KOR"),
        ("Republic of Korea", "KOR"),
        ("Côte d’Ivoire", "CIV"),
        ("ivory coast", "CIV"),
        ("Türkiye", "TUR"),
        ("holland", "NLD"),
        ("guinea bissau", "GNB"),
    ],
)
def test_aliases(name: str, code: str) -> None:
    assert find_region(name).code == code


def test_every_country_is_found_by_name_and_by_code() -> None:
    for code, country in grid.countries().items():
        for name in (country.region, code, code.lower()):
            assert find_region(name).code == code


def test_every_code_finds_its_figure_again() -> None:
    assert all(find_region(region.code) == region for region in EVERY)
    assert len({region.code for region in EVERY}) == len(EVERY)


# --- listing --------------------------------------------------------------------------------------------------------


def test_listing() -> None:
    assert EVERY[0].kind == "world"
    assert {region.kind for region in EVERY} == {"world", "country", "cloud region"}
    assert [region.code for region in regions("oregon")] == ["us-west1@2024", "us-west1@2021"]
    assert [region.code for region in regions("georgia")] == ["GEO", "us-east2@2024"]
    assert regions("uk")[0].code == "GBR"
    assert [region.code for region in regions("gcp:us-west1")] == ["us-west1@2024"]
    assert {region.code for region in regions("korea")} == {"KOR", "PRK"}
    with pytest.raises(RegionError, match="estimate regions"):
        regions("nowhere at all")


# --- errors name the remedy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gremany", "Germany"),
        ("oregon", r"us-west1 \(Oregon\)"),
        ("montreal", "northamerica-northeast1"),
        ("us-wset1", "us-west1"),
        ("westeurope", "--carbon-intensity"),
        ("", "estimate regions"),
        ("korea", "`KOR` .South Korea. or `PRK`"),
        ("us-west-1", "no grid carbon intensity: give the country"),  # Amazon's, not Google's us-west1
        ("aws:eu-west-1", "give the country"),
        ("azure:westeurope", "give the country"),
        ("us-east2@2021", "us-east2@2024"),
        ("germany@1999", "not for 1999"),
        ("world@2018", "without a year"),
        ("us-west1@latest", "is no year"),
        ("us-west1@", "is no year"),
        ("andorra", "AND"),
    ],
)
def test_errors_name_the_remedy(name: str, said: str) -> None:
    with pytest.raises(RegionError, match=said) as caught:
        find_region(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_year_given_twice_must_agree() -> None:
    assert find_region("us-west1@2021", 2021) == find_region("us-west1", 2021)
    with pytest.raises(RegionError, match="once"):
        find_region("us-west1@2021", 2024)


# --- a stated intensity, emissions, PUE -----------------------------------------------------------------------------


@pytest.mark.parametrize("grams", [-1.0, math.nan, math.inf, -math.inf])
def test_a_stated_intensity_is_checked(grams: float) -> None:
    with pytest.raises(ScenarioError, match="gCO2e/kWh"):
        given(grams)


def test_a_stated_intensity_that_looks_like_kilograms_is_remarked() -> None:
    assert "grams" in given(0.381).note
    assert given(0.0).note == given(380.0).note == ""


def test_one_kwh_by_hand() -> None:
    assert carbon_kg(3.6e6, given(394.0)) == pytest.approx(0.394)


ENERGY = st.floats(0, 1e20)
GRAMS = st.floats(0, 2e3)


@over(ENERGY, st.floats(0, 1e6), GRAMS)
def test_emissions_are_linear_in_energy(energy_j: float, factor: float, grams: float) -> None:
    intensity = given(grams)
    assert carbon_kg(energy_j * factor, intensity) == pytest.approx(factor * carbon_kg(energy_j, intensity))


@over(ENERGY, GRAMS, GRAMS)
def test_emissions_grow_with_the_intensity(energy_j: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert carbon_kg(energy_j, given(low)) <= carbon_kg(energy_j, given(high))


@over(st.floats(1e-3, 1e9), st.floats(1, 2e3))
def test_units_round_trip(energy_kwh: float, grams: float) -> None:
    grams_emitted = 1000 * carbon_kg(energy_kwh * 3.6e6, given(grams))
    assert grams_emitted / energy_kwh == pytest.approx(grams)


@settings(max_examples=60, deadline=None)
@over(
    st.one_of(st.text(max_size=40), st.text("abcdeghinorstuw-@:1234 ", max_size=20)),
    st.one_of(st.none(), st.integers(1900, 2100)),
)
def test_any_text_gives_a_region_or_a_region_error(name: str, year: int | None) -> None:
    try:
        found = find_region(name, year)
    except RegionError as error:
        assert str(error)
    else:
        assert isinstance(found, Intensity)


def test_pue() -> None:
    assert default_pue().value == 1.58
    assert "Uptime Institute" in default_pue().source
    values = {year: fact.value for year, fact in pue_history().items()}
    assert values == {2020: 1.58, 2021: 1.57, 2022: 1.55, 2023: 1.58, 2024: 1.56, 2025: 1.54}
    assert all(fact.unit and fact.source and fact.status == "published" for fact in pue_history().values())
