"""What a scenario refuses, naming the flag; and that every value nobody gave is said to be a default."""

from __future__ import annotations

import math

import pytest

from estimator.base.errors import JoulecastError, ScenarioError
from estimator.footprint import estimate
from estimator.lifecycle.scenario import DTYPES, OPTIMIZER_NAMES, SCENARIO_FIELDS, Scenario
from tests.estimator.networks import mlp

NUMBERS = ("epochs", "samples", "search_epochs", "search_samples", "inferences")
COUNTS = ("batch_size", "inference_batch_size", "devices", "trials")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in NUMBERS for value in (0, -1, math.nan, math.inf)),
        *((name, value) for name in COUNTS for value in (0, -3, 1.5)),
        ("dtype", "float8"),
        ("dtype", ""),
        ("optimizer", "lion"),
        *(("overhead", value) for value in (-0.1, 1, 1.5, math.nan, math.inf)),
        *(("pue", value) for value in (0.99, 0, -1, math.nan, math.inf)),
    ],
)
def test_invalid_value_is_refused_with_its_flag(field, value):
    trials = {"trials": 3} if field.startswith("search_") else {}
    with pytest.raises(ScenarioError) as error:
        Scenario(**{field: value}, **trials)
    assert f"--{field.replace('_', '-')}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("field", COUNTS)
def test_counts_that_are_no_number_are_refused(field, value):
    with pytest.raises(ScenarioError, match="--" + field.replace("_", "-")):
        Scenario(**{field: value})


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_invalid_carbon_intensity_is_refused_with_its_flag(value):
    with pytest.raises(ScenarioError, match="--carbon-intensity"):
        estimate(mlp(4, 2), Scenario(carbon_intensity=value, hardware="i9-9900k"))


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"region": "germany", "carbon_intensity": 100.0}, ("--region", "--carbon-intensity")),
        ({"search_epochs": 3}, ("--search-epochs", "--trials")),
        ({"search_samples": 3}, ("--search-samples", "--trials")),
    ],
)
def test_contradictions_name_both_flags(fields, flags):
    with pytest.raises(ScenarioError) as error:
        Scenario(**fields)
    assert all(flag in str(error.value) for flag in flags)


@pytest.mark.parametrize(
    "fields",
    [
        {"hardware": "no-such-device"},
        {"region": "atlantis"},
        {"inputs": ("three",)},
        {"inputs": ("0x3",)},
        {"freeze": ("nothing",)},
        {"freeze": ("*",)},
    ],
)
def test_what_only_the_model_or_the_tables_can_refuse(fields):
    with pytest.raises(JoulecastError) as error:
        estimate(mlp(4, 2), Scenario(**{"hardware": "i9-9900k", **fields}))
    assert "\n" not in str(error.value)


def test_every_choice_nobody_made_is_a_default():
    assumptions = {a.name: a for a in Scenario().assumptions()}
    assert {a.status for a in assumptions.values()} == {"default"}
    assert all(a.source for a in assumptions.values())
    for name in ("epochs", "samples", "batch_size", "inference_batch_size", "dtype", "optimizer", "devices"):
        assert assumptions[name].flag == "--" + name.replace("_", "-")
        assert assumptions[name].value == Scenario().value_of(name)
    # Gitzel et al. 2023, Table 6: 100,000 samples, 10 epochs
    assert (assumptions["samples"].value, assumptions["epochs"].value) == (100_000, 10)


def test_given_values_are_said_to_be_given():
    scenario = Scenario(epochs=3, dtype="bfloat16", optimizer="sgd", batch_size=8)
    assumptions = {a.name: a for a in scenario.assumptions()}
    assert {n for n, a in assumptions.items() if a.status == "given"} == {"epochs", "dtype", "optimizer", "batch_size"}
    assert assumptions["epochs"].value == 3
    assert assumptions["optimizer"].value == "sgd"


@pytest.mark.parametrize("field", SCENARIO_FIELDS)
def test_fields_are_unset_by_default(field):
    assert getattr(Scenario(), field) in (None, (), False)


def test_all_choices_are_accepted():
    for dtype in DTYPES:
        assert Scenario(dtype=dtype).value_of("dtype") == dtype
    for optimizer in OPTIMIZER_NAMES:
        assert Scenario(optimizer=optimizer).value_of("optimizer") == optimizer
    Scenario(overhead=0, pue=1, epochs=0.5, inferences=1e12, carbon_intensity=0)
