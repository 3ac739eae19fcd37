"""Models side by side: rows are what `estimate` says, whatever their order; sweeps, names, failures."""

from __future__ import annotations

import itertools

import pytest
import torch

import estimator.footprint
from estimator.base.errors import HardwareError, RegionError, ScenarioError
from estimator.comparing.compare import MAX_ROWS, Comparison, by_name, compare, parse_qualities
from estimator.comparing.sweep import _OPTIONS, Sweep, parse_sweep, variants
from estimator.footprint import estimate
from estimator.lifecycle.scenario import SCENARIO_FIELDS, Scenario
from tests.estimator.comparing.comparisons import MEMORY, row
from tests.estimator.networks import mlp

CPU = Scenario(hardware="i9-9900k")
MODELS = {"a": mlp(20, 30, 5), "b": mlp(20, 300, 300, 5), "c": mlp(20, *[10] * 40, 5)}


def _told(found: Comparison):
    return [(one.name, ratio, ties) for one, ratio, ties in zip(found.rows, found.ratios, found.ties, strict=True)]


@pytest.fixture
def traced(monkeypatch):
    """Batch sizes of the passes that were traced."""
    batches = []
    real = estimator.footprint.trace

    def counted(module, inputs, **settings):
        batches.append((inputs.batch_size, settings["optimizer"]))
        return real(module, inputs, **settings)

    monkeypatch.setattr(estimator.footprint, "trace", counted)
    return batches


def test_rows_are_what_estimate_says_cheapest_first():
    found = compare(MODELS, CPU)
    assert {one.name for one in found.rows} == set(MODELS)
    for one in found.rows:
        alone = estimate(MODELS[one.name], CPU)
        assert one.footprint.training == alone.training
        assert one.footprint.inference == alone.inference
        assert one.bound_shares == pytest.approx(alone.training_estimate.bound_shares)
    amounts = [one.footprint.training.stage.energy_j.value for one in found.rows]
    assert amounts == sorted(amounts)
    assert [r.value for r in found.ratios] == pytest.approx([amount / amounts[0] for amount in amounts])


def test_the_order_of_the_models_changes_nothing():
    expected = _told(compare(MODELS, CPU))
    for names in itertools.permutations(MODELS):
        assert _told(compare({name: MODELS[name] for name in names}, CPU)) == expected


def test_one_model_is_its_own_best():
    found = compare({"a": MODELS["a"]}, CPU)
    assert [r.value for r in found.ratios] == [1.0]
    assert found.ties == ((),)


def test_the_same_network_twice_is_a_tie():
    found = compare({"a": mlp(20, 30, 5), "b": mlp(20, 30, 5)}, CPU)
    assert [r.value for r in found.ratios] == [1.0, 1.0]
    assert found.ties == ((1,), (0,))


def test_a_lifetime_is_compared_where_inferences_are_given():
    found = compare(MODELS, Scenario(hardware="i9-9900k", inferences=1e9, trials=3))
    for one in found.rows:
        assert one.total == one.footprint.lifetime
        shares = one.footprint.inference_estimate.bound_shares  # nearly all of the life is inference
        assert one.bound_shares == pytest.approx(shares, abs=0.01)
        assert sum(one.bound_shares.values()) == pytest.approx(1)
    searched = compare(MODELS, Scenario(hardware="i9-9900k", trials=3)).rows[0]
    four = 4 * searched.footprint.training.stage.energy_j.value  # three trials like the training, and the training
    assert searched.total.energy_j.value == pytest.approx(four)


# ---- sweeps


def test_a_sweep_is_every_combination_and_traces_only_what_it_must(traced):
    sweeps = [Sweep("hardware", ("i9-9900k", "t4", "a100")), Sweep("epochs", (1, 2)), Sweep("batch_size", (8, 32))]
    found = compare({"a": MODELS["a"]}, None, sweeps=sweeps)
    assert len(found.rows) == 12
    assert sorted(traced, key=str) == [(1, None), (32, "adam"), (8, "adam")]
    assert "a hardware=t4 epochs=2 batch-size=8" in {one.name for one in found.rows}
    one = next(one for one in found.rows if one.swept == {"hardware": "t4", "epochs": "2", "batch-size": "8"})
    assert one.footprint.training == estimate(MODELS["a"], Scenario(hardware="t4", epochs=2, batch_size=8)).training


def test_no_model_takes_another_ones_trace(traced):
    compare(MODELS, CPU)
    assert len(traced) == 2 * len(MODELS)


def test_twice_the_epochs_are_exactly_twice_the_energy():
    found = compare({"a": MODELS["a"]}, CPU, sweeps=[Sweep("epochs", (1, 2))])
    between = found.ratios[1]
    assert (between.low, between.value, between.high) == pytest.approx((2, 2, 2))
    assert found.ties == ((), ())


def test_rows_on_several_grids_are_compared_by_carbon():
    found = compare({"a": MODELS["a"]}, CPU, sweeps=[Sweep("carbon_intensity", (500.0, 50.0))])
    assert found.by_carbon
    assert [one.swept["carbon-intensity"] for one in found.rows] == ["50", "500"]
    assert found.ratios[1].value == pytest.approx(10)
    assert not compare(MODELS, CPU).by_carbon


def test_a_grid_without_carbon_has_no_ratio():
    found = compare({"a": MODELS["a"]}, CPU, sweeps=[Sweep("carbon_intensity", (0.0, 50.0))])
    assert found.ratios == (None, None)
    assert found.ties == ((), ())


def test_every_field_of_a_scenario_can_be_swept():
    assert sorted(_OPTIONS.values()) == sorted(set(SCENARIO_FIELDS) - {"no_batch", "channels_last"})  # switches
    assert parse_sweep("batch-size=1, 8,8") == Sweep("batch_size", (1, 8))
    assert parse_sweep("--epochs=0.5,1e1") == Sweep("epochs", (0.5, 10.0))
    assert parse_sweep("dtype=float32,bfloat16") == Sweep("dtype", ("float32", "bfloat16"))
    shapes = variants(Scenario(), [parse_sweep("input=3x32x32,3x64x64")])
    assert [variant.scenario.inputs for variant in shapes] == [("3x32x32",), ("3x64x64",)]


@pytest.mark.parametrize(
    ("text", "says"),
    [("colour=red", "batch-size"), ("epochs", "empty"), ("epochs=1,,2", "empty"), ("batch-size=1.5", "whole number"),
     ("epochs=many", "a number")],
)  # fmt: skip
def test_sweeps_that_are_refused(text, says):
    with pytest.raises(ScenarioError, match=says):
        parse_sweep(text)


def test_scenarios_that_contradict_themselves_are_refused_before_any_model_is_loaded():
    for sweeps, error in (
        ([Sweep("epochs", (1,)), Sweep("epochs", (2,))], ScenarioError),
        ([Sweep("hardware", ("t4",))], ScenarioError),  # given as well
        ([Sweep("epochs", (0,))], ScenarioError),
        ([Sweep("region", ("atlantis",))], RegionError),
        ([Sweep("epochs", tuple(range(1, MAX_ROWS + 2)))], ScenarioError),
    ):
        with pytest.raises(error):
            compare({"missing": "no-such-file.pt"}, CPU, sweeps=sweeps)
    with pytest.raises(HardwareError):
        compare({"missing": "no-such-file.pt"}, sweeps=[Sweep("hardware", ("t4", "no-such-device"))])


# ---- names and qualities


def test_models_are_named_by_the_end_of_what_was_typed(tmp_path):
    first, second = tmp_path / "wide.pt", tmp_path / "other" / "wide.pt"
    second.parent.mkdir()
    for path in (first, second):
        torch.save(mlp(2, 2), path)
    assert by_name([str(first), "timm:resnet18", "nets/net.py:Net"]) == {
        "wide": str(first), "resnet18": "timm:resnet18", "Net": "nets/net.py:Net"
    }  # fmt: skip
    assert list(by_name([str(first), str(second), str(first)])) == [str(first), str(second)]
    assert list(by_name(["mlp:100x[10,20]x[30,50]"])) == ["100x10x30", "100x10x50", "100x20x30", "100x20x50"]


def test_qualities_belong_to_models_or_rows():
    named = by_name(["mlp:4x1x2", "mlp:4x1x3"])
    rated = parse_qualities(["4x1x2=0.9", "mlp:4x1x3=-1.5", "4x1x3 epochs=2=-1"], named)
    found = compare(named, CPU, sweeps=[Sweep("epochs", (1, 2))], qualities=rated)
    assert {one.name: one.quality for one in found.rows} == {
        "4x1x2 epochs=1": 0.9, "4x1x2 epochs=2": 0.9, "4x1x3 epochs=1": -1.5, "4x1x3 epochs=2": -1.0
    }  # fmt: skip
    with pytest.raises(ScenarioError, match="4x1x2"):
        compare(named, CPU, qualities={"nobody": 1.0})
    for text in ("4x1x2", "4x1x2=good", "=1", "4x1x2=nan"):
        with pytest.raises(ScenarioError, match="NAME=NUMBER"):
            parse_qualities([text], named)


# ---- failures


def test_what_fails_is_told_and_the_rest_goes_on():
    models = {**MODELS, "gone": "no-such-file.pt", "image": torch.nn.Conv2d(3, 8, 3)}
    found = compare(models, Scenario(hardware="i9-9900k", inputs=("20",)))
    assert {one.name for one in found.rows} == set(MODELS)
    assert [failure.name for failure in found.failures] == ["gone", "image"]
    assert "no-such-file.pt" in found.failures[0].error
    assert "Conv2d" in found.failures[1].error


def test_nothing_left_to_compare():
    found = compare({"gone": "no-such-file.pt"}, CPU)
    assert (found.rows, found.ratios, found.ties, len(found.failures)) == ((), (), (), 1)


def test_a_model_that_does_nothing_costs_nothing():
    found = compare({"nothing": torch.nn.Identity(), "a": MODELS["a"]}, Scenario(hardware="i9-9900k", inputs=("20",)))
    assert len(found.rows) + len(found.failures) == 2


def test_bound_shares_without_time():
    assert row("a", 1, seconds=0, waits=MEMORY).bound_shares == {"compute": 0.0, "memory": 0.0, "launch": 0.0}
