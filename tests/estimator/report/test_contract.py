"""The JSON contract, schema version 1: exactly these keys, and the numbers of the Python API."""

from __future__ import annotations

import json
import math

import pytest

from estimator import Scenario, estimate, to_dict
from tests.estimator.networks import mlp
from tests.estimator.tracing import Calls

STAGE = {"energy_j", "energy_kwh", "carbon_kg", "duration_s", "boundary"}
KEYS = {
    "schema_version": None,
    "model": {"name", "parameters", "trainable_parameters", "layer_types"},
    "workload": {"flops_per_sample", "bytes_per_sample", "bound", "ops", "uncovered_ops", "guesses"},
    "hardware": {"name", "status"},
    "assumptions": {"name", "value", "unit", "status", "source"},
    "inference": STAGE,
    "training": STAGE | {"forward_energy_j", "overhead_share", "samples", "epochs"},
    "search": STAGE,
    "lifetime": STAGE,
    "memory": {"device_bytes", "inference", "training"},
    "layers": {"name", "type", "energy_j", "share"},
    "warnings": None,
}


def check_keys(told: dict) -> None:
    """Exactly the contract's keys."""
    assert set(told) == set(KEYS)
    for name, keys in KEYS.items():
        for part in told[name] if isinstance(told[name], list) else [told[name]]:
            if keys and part is not None:
                assert set(part) == keys, name
    for name in ("inference", "training"):
        need = told["memory"][name]
        assert set(need) == {"bytes", "parts", "batch_size", "fits", "largest_batch_size"}
        assert sum(need["parts"].values()) == need["bytes"]
    for name in ("inference", "training", "search", "lifetime"):
        if told[name] is not None:
            assert told[name]["boundary"] == "facility"
            for quantity in ("energy_j", "duration_s"):
                interval = told[name][quantity]
                assert list(interval) == ["value", "low", "high"]
                assert interval["low"] <= interval["value"] <= interval["high"]


@pytest.fixture(scope="module")
def footprint():
    return estimate(mlp(20, 30, 5), Scenario(hardware="i9-9900k", region="germany", trials=3, inferences=1000))


def test_keys(footprint):
    check_keys(to_dict(footprint))
    short = to_dict(estimate(mlp(20, 30, 5), Scenario(hardware="i9-9900k")))
    check_keys(short)
    assert short["search"] is None
    assert short["lifetime"] is None


def test_is_json_without_loss(footprint):
    told = to_dict(footprint)
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_numbers_are_those_of_the_footprint(footprint):
    told = to_dict(footprint)
    assert told["schema_version"] == 1
    for name, stage in (
        ("inference", footprint.inference),
        ("training", footprint.training.stage),
        ("search", footprint.search),
        ("lifetime", footprint.lifetime),
    ):
        assert told[name]["energy_j"]["value"] == stage.energy_j.value
        assert told[name]["energy_kwh"] == stage.energy_j.value / 3.6e6
        assert told[name]["carbon_kg"] == stage.carbon_kg
        assert told[name]["duration_s"]["high"] == stage.duration_s.high
    assert told["model"]["parameters"] == 785
    assert told["workload"]["flops_per_sample"] == 2 * (20 * 30 + 30 * 5)
    assert told["workload"]["ops"] == 3
    assert told["training"]["samples"] == 100_000
    assert told["training"]["epochs"] == 10
    assert told["hardware"] == {"name": "intel-core-i9-9900k", "status": "datasheet"}
    assert told["training"]["forward_energy_j"] / told["training"]["energy_j"]["value"] == pytest.approx(
        1 - told["training"]["overhead_share"]
    )


def test_layers_are_all_or_the_dearest(footprint):
    layers = to_dict(footprint)["layers"]
    assert {layer["name"] for layer in layers} >= {"0", "1", "2"}
    assert math.fsum(layer["share"] for layer in layers) == pytest.approx(1)
    assert to_dict(footprint, 2)["layers"] == layers[:2]
    assert to_dict(footprint, 0)["layers"] == []


def test_what_was_not_counted_and_what_was_guessed_is_told():
    import torch

    net = Calls(lambda _, x: torch.linalg.svdvals(x[..., None]) if x.sum() > 0 else x)
    workload = to_dict(estimate(net, Scenario(hardware="i9-9900k", inputs=("16",))))["workload"]
    assert workload["uncovered_ops"] == ["aten._linalg_svd"]
    assert workload["guesses"] == ["a condition in the model: True (the dearer way: an upper bound)"]
    assert workload["bound"] == "about"  # a way is an upper bound, but an op is missing


def test_statuses_are_the_contracts(footprint):
    told = to_dict(footprint)
    assert {a["status"] for a in told["assumptions"]} <= {"given", "detected", "default"}
    assert told["hardware"]["status"] in {"calibrated", "published", "datasheet", "generic"}
