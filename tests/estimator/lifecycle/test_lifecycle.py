"""The life cycle by the equations of Gitzel et al. 2023, sections 3.4 to 3.8, on numbers chosen by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from estimator.energy.pricing import Estimate
from estimator.energy.uncertainty import Interval
from estimator.lifecycle import carbon, stages
from estimator.lifecycle.stages import PAPER_OVERHEAD, Site

SITE = Site(host_share=0.25, pue=1.6, intensity=carbon.given(500.0))  # facility: 1.25 x 1.6 = 2 times the device
STEP = Estimate(  # 8 samples: 4 J in 2 s, a quarter of the energy and half of the time forward
    energy_j=Interval(4.0, 2.0, 8.0),
    duration_s=Interval(2.0, 1.0, 4.0),
    batch_size=8,
    phase_energy_j={"forward": 1.0, "backward": 2.0, "optimizer": 1.0},
    phase_duration_s={"forward": 1.0, "backward": 0.75, "optimizer": 0.25},
    bound_shares={},
    layers=(),
)


def test_facility_is_device_and_host_times_pue():
    assert SITE.facility_factor == pytest.approx(2.0)
    stage = stages.of_samples(STEP, 16, SITE)
    assert stage.energy_j == Interval(16.0, 8.0, 32.0)  # two batches of 4 J, twice at the facility
    assert stage.duration_s == Interval(4.0, 2.0, 8.0)
    assert stage.energy_kwh == pytest.approx(16 / 3.6e6)
    assert stage.carbon_kg == pytest.approx(16 / 3.6e6 * 0.5)


def test_training_by_hand():
    trained = stages.training(STEP, samples=80, epochs=3, site=SITE)
    assert trained.stage.energy_j.value == pytest.approx(30 * 4 * 2)  # 30 batches
    assert trained.stage.duration_s.value == pytest.approx(60)
    assert trained.forward_energy_j == pytest.approx(60)
    assert trained.overhead_share == pytest.approx(0.75)


def test_papers_overhead_makes_training_five_times_the_forward_pass():
    # theta = 1 / (1 - 0.8) = 5
    traced, forced = (stages.training(STEP, 80, 3, SITE, overhead) for overhead in (None, PAPER_OVERHEAD))
    assert PAPER_OVERHEAD == 0.8
    assert forced.stage.energy_j.value == pytest.approx(5 * traced.forward_energy_j)
    assert forced.stage.duration_s.value == pytest.approx(5 * 30)  # a forward pass takes 1 s of each batch
    assert forced.forward_energy_j == traced.forward_energy_j
    assert forced.overhead_share == pytest.approx(0.8)


@pytest.mark.parametrize("overhead", [0.0, 0.2, 0.5, 0.95])
def test_forced_overhead_is_the_overhead_share(overhead):
    forced = stages.training(STEP, 80, 3, SITE, overhead)
    assert forced.overhead_share == pytest.approx(overhead)
    assert forced.stage.energy_j.value == pytest.approx(forced.forward_energy_j / (1 - overhead))


def test_search_and_lifetime_by_hand():
    trained = stages.training(STEP, 80, 3, SITE)  # 240 J
    searched = stages.search(trained, 7)
    inference = stages.of_samples(STEP, 1, SITE)  # 1 J
    assert searched.energy_j.value == pytest.approx(7 * 240)
    lived = stages.lifetime(searched, trained.stage, inference, 1000)
    assert lived.energy_j.value == pytest.approx(7 * 240 + 240 + 1000)  # CT + T + I e
    assert lived.energy_j.low == pytest.approx(lived.energy_j.value / 2)
    assert lived.carbon_kg == pytest.approx(lived.energy_j.value / 3.6e6 * 0.5)
    assert stages.lifetime(None, trained.stage, inference, 1000).energy_j.value == pytest.approx(240 + 1000)


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_devices_share_the_time_and_not_the_energy(devices):
    alone, shared = (stages.training(STEP, 80, 3, site).stage for site in (SITE, replace(SITE, devices=devices)))
    assert shared.energy_j == alone.energy_j
    assert shared.carbon_kg == alone.carbon_kg
    assert shared.duration_s.value == pytest.approx(alone.duration_s.value / devices)
