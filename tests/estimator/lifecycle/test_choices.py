"""Choices that nobody made are told: dtype, search, batch sizes of an export, and what an answer rests on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from estimator import Scenario, estimate
from estimator.base.errors import ModelFileError, ScenarioError
from estimator.hardware.profile import HostShare
from estimator.lifecycle import carbon
from estimator.lifecycle.choices import site_of
from estimator.sources import LoadedModel

CPU = "i9-9900k"


def _told(footprint, name):
    return next(a for a in footprint.assumptions if a.name == name)


def _net(dtype=torch.float32):
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).to(dtype)


@pytest.mark.parametrize(("dtype", "name"), [(torch.bfloat16, "bfloat16"), (torch.float16, "float16")])
def test_a_narrow_model_is_priced_in_its_own_dtype(dtype, name):
    narrow, wide = estimate(_net(dtype), Scenario(hardware=CPU)), estimate(_net(), Scenario(hardware=CPU))
    assert (_told(narrow, "dtype").value, _told(narrow, "dtype").status) == (name, "detected")
    assert _told(wide, "dtype").status == "default"
    assert narrow.inference_workload.bytes_moved * 2 == wide.inference_workload.bytes_moved  # 2 bytes for 4
    given = estimate(_net(dtype), Scenario(hardware=CPU, dtype="float32"))
    assert given.inference_workload.bytes_moved == wide.inference_workload.bytes_moved


@pytest.mark.parametrize(
    ("named", "dtype", "said"),
    [
        ("bfloat16", "bfloat16", False),
        ("torch.float16", "float16", False),
        ("float32", "float32", False),
        ("float64", "float32", True),
        ("float8_e4m3fn", "bfloat16", True),
    ],
)
def test_the_dtype_that_settings_name_is_taken(named, dtype, said):
    model = LoadedModel(_net(), "net", "config", dtype=named)
    footprint = estimate(model, Scenario(hardware=CPU))
    assert (_told(footprint, "dtype").value, _told(footprint, "dtype").status) == (dtype, "detected")
    assert {op.dtype for op in footprint.inference_workload.ops} == {dtype}
    assert any(f"{named}, which cannot be priced" in warning for warning in footprint.warnings) == said
    given = estimate(model, Scenario(hardware=CPU, dtype="float16"))
    assert (_told(given, "dtype").value, _told(given, "dtype").status) == ("float16", "given")


def test_a_device_without_the_models_dtype_is_said():
    bfloat16 = estimate(LoadedModel(_net(), "net", "config", dtype="bfloat16"), Scenario(hardware="v100-sxm2-16gb"))
    assert any("no published bfloat16 rate" in warning for warning in bfloat16.warnings)


def test_float64_is_said():
    assert any("float64" in warning for warning in estimate(_net(torch.float64), Scenario(hardware=CPU)).warnings)


def test_a_search_and_a_lifetime_say_what_they_are_of():
    footprint = estimate(
        _net(), Scenario(hardware=CPU, trials=7, search_epochs=2, inferences=1e6, freeze="0", overhead=0.8)
    )
    assert (_told(footprint, "trials").value, _told(footprint, "inferences").value) == (7, 1e6)
    assert (_told(footprint, "search_epochs").value, _told(footprint, "search_epochs").status) == (2, "given")
    assert (_told(footprint, "search_samples").value, _told(footprint, "search_samples").status) == (100_000, "default")
    assert (_told(footprint, "freeze").value, _told(footprint, "overhead").value) == ("0", 0.8)
    assert not {"trials", "inferences"} & {a.name for a in estimate(_net(), Scenario(hardware=CPU)).assumptions}


def test_fewer_samples_than_a_batch_are_said():
    few = estimate(_net(), Scenario(hardware=CPU, samples=10, batch_size=32))
    assert any("--batch-size" in warning for warning in few.warnings)


def test_a_path_is_taken_and_a_class_is_refused(tmp_path: Path):
    torch.save(nn.Linear(3, 4), tmp_path / "net.pt")
    assert estimate(tmp_path / "net.pt", Scenario(hardware=CPU)).model.parameters == 16
    for wrong in (nn.Linear, None, 3):
        with pytest.raises(ModelFileError, match=r"nn\.Module"):
            estimate(wrong, Scenario(hardware=CPU))


@pytest.mark.parametrize(
    "values",
    [{"epochs": "10"}, {"batch_size": True}, {"samples": 1e300}, {"pue": "1.5"}, {"overhead": "0.8"}, {"trials": 1.5}],
)
def test_values_of_a_wrong_kind_are_refused_with_the_flag(values):
    (name,) = values
    with pytest.raises(ScenarioError, match="--" + name.replace("_", "-")):
        Scenario(**values)


def test_one_input_may_be_given_as_text():
    assert Scenario(inputs="3x32x32").inputs == ("3x32x32",)
    assert Scenario(batch_size=32.0).batch_size == 32


HOST = HostShare(0.36, "a wall meter")


@pytest.mark.parametrize(
    ("given", "pue", "share"),
    [
        ({}, carbon.default_pue().value, 0.36),
        ({"where": "datacenter"}, carbon.default_pue().value, 0.36),
        ({"where": "workstation"}, 1.0, 0.36),
        ({"where": "laptop", "pue": 1.2, "host_share": 0.1}, 1.2, 0.1),
        ({"host_share": 0.0}, carbon.default_pue().value, 0.0),
    ],
)
def test_where_it_runs_decides_what_is_around_it(given, pue, share):
    site, assumptions = site_of(Scenario(**given), HOST)
    assert (site.pue, site.host_share) == (pue, share)
    status = {assumption.name: assumption.status for assumption in assumptions}
    assert status["host_share"] == ("given" if "host_share" in given else "default")
    assert status["pue"] == ("default" if pue == carbon.default_pue().value else "given")


@pytest.mark.parametrize("wrong", [{"where": "garage"}, {"host_share": -0.1}, {"host_share": "a third"}])
def test_places_and_shares_that_are_none(wrong):
    with pytest.raises(ScenarioError, match=f"--{next(iter(wrong)).replace('_', '-')}"):
        Scenario(**wrong)
