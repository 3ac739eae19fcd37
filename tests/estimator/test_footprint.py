"""The main job as one call: laws between its stages, what it assumes, what it warns of. Expected: hand arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from estimator import Scenario, estimate
from estimator.base.errors import InputError
from estimator.footprint import as_loaded, model_facts
from estimator.sources import LoadedModel
from tests.estimator.networks import mlp
from tests.estimator.profiles import profile
from tests.estimator.tracing import Calls, meta, on_meta

NET = mlp(20, 30, 5)


def _estimate(net=NET, hardware="i9-9900k", **scenario):
    return estimate(net, Scenario(hardware=hardware, **scenario))


def test_model_facts_by_hand():
    facts = model_facts(as_loaded(NET))
    assert facts.parameters == facts.trainable_parameters == 20 * 30 + 30 + 30 * 5 + 5
    assert facts.layer_types == {"Linear": 2, "ReLU": 1}
    frozen = model_facts(as_loaded(NET), ("0",))
    assert frozen.trainable_parameters == 30 * 5 + 5
    assert frozen.parameters == facts.parameters


def test_tied_parameters_are_counted_once():
    def tied():
        net = Calls(lambda m, i: m.out(m.embed(i)), embed=nn.Embedding(50, 8), out=nn.Linear(8, 50, bias=False))
        net.out.weight = net.embed.weight
        return net

    assert model_facts(as_loaded(on_meta(tied))).parameters == 50 * 8


def test_matrices_in_int8_buffers_are_parameters():
    net = nn.Linear(8, 4)
    net.register_buffer("packed", torch.zeros(4, 8, dtype=torch.int8))
    net.register_buffer("mask", torch.zeros(4, 8, dtype=torch.bool))
    facts = model_facts(LoadedModel(net, "net", "test"))
    assert (facts.parameters, facts.trainable_parameters) == (2 * 4 * 8 + 4, 4 * 8 + 4)


def test_stages_by_hand_on_round_hardware():
    machine = profile(
        launch_s=0.0, static_w=0.0, energy_per_byte_j=0.0, energy_per_flop_j={"float32": 1e-12, "vector": 0.0}
    )
    footprint = estimate(NET, Scenario(samples=640, epochs=3, pue=2.0, batch_size=64), hardware=machine)
    forward = 2 * (20 * 30 + 30 * 5) * 1e-12  # a sample at the device
    backward = 2 * (20 * 30 + 2 * 30 * 5) * 1e-12
    facility = 1.25 * 2.0
    assert footprint.inference.energy_j.value == pytest.approx(forward * facility)
    assert footprint.training.stage.energy_j.value == pytest.approx((forward + backward) * facility * 640 * 3)
    assert footprint.training.forward_energy_j == pytest.approx(forward * facility * 640 * 3)
    assert footprint.training.overhead_share == pytest.approx(backward / (forward + backward))


@pytest.mark.parametrize("hardware", ["i9-9900k", "rtx-2080-ti"])
def test_laws_between_the_stages(hardware):
    footprint = _estimate(hardware=hardware, trials=7, inferences=1e6)
    training = footprint.training.stage.energy_j.value
    assert footprint.search.energy_j.value == pytest.approx(7 * training)
    assert footprint.lifetime.energy_j.value == pytest.approx(8 * training + 1e6 * footprint.inference.energy_j.value)
    assert sum(layer.energy_j for layer in footprint.layers) == pytest.approx(training)
    assert sum(layer.share for layer in footprint.layers) == pytest.approx(1)
    for stage in (footprint.inference, footprint.training.stage, footprint.search, footprint.lifetime):
        for interval in (stage.energy_j, stage.duration_s):
            assert 0 < interval.low < interval.value < interval.high


def test_search_has_its_own_epochs_and_samples():
    footprint = _estimate(epochs=10, samples=1000, trials=4, search_epochs=5, search_samples=100)
    assert footprint.search.energy_j.value == pytest.approx(4 * footprint.training.stage.energy_j.value / 20)


def test_papers_overhead():
    forced = _estimate(overhead=0.8)
    assert forced.training.stage.energy_j.value == pytest.approx(5 * forced.training.forward_energy_j)
    assert forced.training.overhead_share == pytest.approx(0.8)
    assert forced.training.forward_energy_j == pytest.approx(_estimate().training.forward_energy_j)


def test_what_was_not_asked_for_is_none():
    footprint = _estimate()
    assert footprint.search is None
    assert footprint.lifetime is None


def test_frozen_layers_cost_less():
    wide = mlp(20, *[300] * 4, 5)
    full, head = (_estimate(wide, freeze=f).training for f in ((), ("[0-6]",)))
    assert head.stage.energy_j.value < 0.8 * full.stage.energy_j.value
    assert head.forward_energy_j == pytest.approx(full.forward_energy_j)


def test_assumptions_name_every_choice():
    footprint = _estimate(epochs=3, region="germany")
    status = {a.name: a.status for a in footprint.assumptions}
    assert status["epochs"] == status["carbon_intensity"] == status["hardware"] == "given"
    assert status["samples"] == status["pue"] == status["host_share"] == status["loss"] == "default"
    assert status["input"] == "detected"
    assert {a.name: a for a in _estimate().assumptions}["carbon_intensity"].status == "default"
    assert all(a.source for a in footprint.assumptions)
    assert len(status) == len(footprint.assumptions)


def test_given_carbon_intensity():
    stage = _estimate(carbon_intensity=100.0).training.stage
    assert stage.carbon_kg == pytest.approx(stage.energy_kwh * 0.1)


def test_model_that_does_not_fit_is_warned_of():
    # 1.6 G parameters x 4 B x (weight, gradient, two moments of Adam, the root of one) = 32 GB, on 11 GB
    huge = on_meta(lambda: nn.Linear(40_000, 40_000, bias=False))
    found = _estimate(huge, "rtx-2080-ti")
    (warning,) = found.memory_warnings
    assert "32.5 GB" in warning
    assert "--hardware" in warning
    assert found.memory.training.largest_batch == 0
    assert found.memory.inference.fits
    fitting = _estimate(huge, "rtx-2080-ti", optimizer="sgd", dtype="float16")
    assert not fitting.memory_warnings
    assert fitting.memory.training.fits


def test_largest_batch_that_fits_does_and_one_more_does_not():
    deep = on_meta(lambda: nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(4))))
    too_large = _estimate(deep, "rtx-2080-ti", inputs=("8x256x256",), batch_size=4000, inference_batch_size=4000)
    for need, option in (
        (too_large.memory.training, "batch_size"),
        (too_large.memory.inference, "inference_batch_size"),
    ):
        assert need.fits is False
        kept = {"inputs": ("8x256x256",), "batch_size": 1, "inference_batch_size": 1}
        for more, fits in ((0, True), (1, False)):
            found = _estimate(deep, "rtx-2080-ti", **(kept | {option: need.largest_batch + more}))
            assert getattr(found.memory, "training" if option == "batch_size" else "inference").fits is fits


def test_memory_is_not_judged_where_nobody_said_what_a_device_has():
    found = _estimate(on_meta(lambda: nn.Linear(40_000, 40_000)), "i9-9900k")
    assert found.memory.training.fits is None
    assert found.memory.training.peak.reserve == 0
    assert not found.memory_warnings


def test_model_without_parameters():
    footprint = _estimate(nn.ReLU(), inputs=("1000",))
    assert "no trainable parameter" in footprint.warnings[0]
    assert footprint.training.overhead_share == pytest.approx(0, abs=1e-9)
    assert footprint.training.stage.energy_j.value > 0


@pytest.mark.parametrize("net", [nn.Identity(), nn.Flatten()])
def test_model_that_does_nothing_is_answered(net):
    # nothing runs: no op, no energy; not a crash
    footprint = _estimate(net, inputs=("1000",), inferences=10, trials=2)
    assert footprint.training.stage.energy_j.value == 0
    assert footprint.inference.energy_j.value == 0


def test_no_input_can_be_told():
    with pytest.raises(InputError, match="--input"):
        _estimate(nn.ReLU())


def test_module_is_not_changed_and_may_be_real():
    net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    before = [p.clone() for p in net.parameters()]
    real, ghost = _estimate(net), _estimate(NET)
    assert real.training.stage.energy_j == ghost.training.stage.energy_j
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, net.parameters(), strict=True))


def test_export_with_a_fixed_batch_keeps_it():
    fixed = LoadedModel(NET, "net", "torch.export", None, "", fixed_batch=16)
    footprint = _estimate(fixed, batch_size=64)
    assert footprint.training_workload.batch_size == footprint.inference_workload.batch_size == 16
    assert "fixed batch of 16" in footprint.warnings[0]
    assert footprint.training.stage.energy_j.value == pytest.approx(
        _estimate(batch_size=16).training.stage.energy_j.value
    )


def test_own_hardware_profile_is_used():
    footprint = estimate(NET, hardware=replace(profile(), title="round numbers"))
    assert footprint.hardware.title == "round numbers"


def test_dtype_reaches_the_workload():
    wide, narrow = _estimate(), _estimate(dtype="bfloat16")
    assert narrow.inference_workload.bytes_moved * 2 == wide.inference_workload.bytes_moved
    assert narrow.inference_workload.flops == wide.inference_workload.flops


def test_inference_batch_shares_the_weights():
    one, many = _estimate(inference_batch_size=1), _estimate(inference_batch_size=100)
    assert many.inference_workload.flops_per_sample == one.inference_workload.flops_per_sample
    assert many.inference.energy_j.value < one.inference.energy_j.value
    assert many.training.stage.energy_j == one.training.stage.energy_j


def test_huge_batches_are_no_error():
    assert _estimate(batch_size=10**6).training.stage.energy_j.value > 0
    assert meta(1).device.type == "meta"
