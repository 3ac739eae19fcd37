"""What is learned from a simulated machine is that machine: op times, overheads, power, intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from calibration.errors import CalibrationError
from calibration.learning.fit import fit, measured_of
from calibration.learning.learn import _SURE, Measured, _arrays, _slopes, group_spreads, learn_ops
from calibration.learning.phases import _robust, learn_host, learn_overheads
from calibration.learning.power import learn_power
from calibration.measuring.samples import Record
from estimator.energy.pricing import price
from estimator.hardware import catalogue
from estimator.hardware.calibrated import profile_from
from estimator.hardware.datasheet import from_datasheet
from tests.calibration.learning.simulated_machine import (
    CPU,
    GPU,
    drawn,
    few_trees,
    header,
    op_seconds,
    sample,
    samples,
)

SEEN, FIRST_UNSEEN = 120, 5000


@pytest.fixture(scope="module")
def machine():
    return fit(Record(header(), tuple(samples(SEEN)), 35.0), "simulated", 2, "nvml")


def _networks(count: int = SEEN, *, gpu: bool = False) -> list[Measured]:
    chosen = drawn(count)
    return [Measured.of(s, w) for s, (_, _, w) in zip(samples(count, gpu=gpu), chosen, strict=True)]


def test_trees_as_arrays_say_what_scikit_learn_says():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6))
    y = np.sin(x[:, 0]) + (x[:, 1] > 0.3) * x[:, 2]
    model = HistGradientBoostingRegressor(max_iter=40, min_samples_leaf=4, random_state=0).fit(x, y)
    other = rng.normal(size=(200, 6)) * 3
    assert _arrays(model).predict(other) == pytest.approx(model.predict(other), rel=1e-9, abs=1e-9)


def test_slopes_are_half_of_a_line_and_none_without_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 3)) * (1.0, 5.0, 0.0)
    found = _slopes(x, 2 * x[:, 0] - 0.4 * x[:, 1] + 7)
    assert found == pytest.approx([1.0, -0.2, 0.0], abs=0.01)  # half of the law's 2 and -0.4; a constant has none
    assert _slopes(x, np.full(2000, 3.0)) == pytest.approx(0.0, abs=1e-9)


def test_noise_does_not_make_predictions_too_small():
    rng = np.random.default_rng(0)
    ops_s = rng.lognormal(-4, 1, 4000)
    measured_s = ops_s * rng.lognormal(0, 0.2, 4000)  # as often too long as too short, by 20%
    (scale,) = _robust((ops_s / measured_s)[:, None], np.ones(4000), [0.5], [2.0])
    assert scale == pytest.approx(1.0, abs=0.01)  # 0.2 / sqrt(4000) = 0.003


def _touching(touch_s: float) -> list[Measured]:
    """Networks in which every third result of a megabyte or more lies in memory that was never touched before."""
    networks = []
    for network in _networks():
        results = [op.bytes_written if op.phase != "optimizer" else 0 for op in network.workload.ops]
        mapped = tuple(float(size) if size > 1e6 and i % 3 == 0 else 0.0 for i, size in enumerate(results))
        op_s = tuple(s and s + touch_s * b for s, b in zip(network.sample.op_s, mapped, strict=True))
        networks.append(replace(network, sample=replace(network.sample, op_s=op_s, op_mapped=mapped)))
    return networks


@pytest.fixture(scope="module")
def touching():
    """Ops learned where the first touch of a byte takes so many seconds."""
    return {touch_s: learn_ops(_touching(touch_s)) for touch_s in (0.0, 2e-10)}


@pytest.mark.parametrize("touch_s", [0.0, 2e-10])
def test_what_first_touch_takes_is_found(touching, touch_s):
    found = touching[touch_s]
    assert found.fresh_s_per_byte == pytest.approx(touch_s, rel=0.2, abs=1e-11)


def test_memory_touched_for_the_first_time_does_not_slow_the_ops_that_touch_none(touching):
    off = []
    for network in _networks():
        plain_s, touching_s = (times.predict(network.workload).seconds.sum() for times in touching.values())
        off.append(abs(float(np.log(touching_s / plain_s))))
    assert np.median(off) < 0.03  # a third of large results takes 2-10 times as long where it is not told apart


def test_unseen_networks_are_predicted(machine):
    profile = profile_from(machine)
    errors = []
    for seed, network, workload in drawn(40, FIRST_UNSEEN):
        truth = sample(seed, network, workload, 0.0).total_s
        errors.append(abs(price(workload, profile.model).duration_s.value / truth - 1))
    assert np.median(errors) < 0.1  # the law has no noise; what is left is interpolation


def test_intervals_hold_unseen_networks(machine):
    profile = profile_from(machine)
    held = []
    for seed, network, workload in drawn(40, FIRST_UNSEEN):
        truth, interval = sample(seed, network, workload, 0.0).total_s, price(workload, profile.model).duration_s
        held.append(interval.low <= truth <= interval.high)
    assert np.mean(held) >= 0.8  # 90% are meant; 40 networks


def test_overheads_of_a_cpu_are_found():
    networks = _networks()
    found = learn_overheads(networks, [op_seconds(n.workload) for n in networks])
    for place in CPU:
        assert found[place].scale == pytest.approx(1.0, abs=0.02), place
    assert found["inference"].op_s + found["inference"].module_call_s == pytest.approx(
        CPU["inference"].op_s + CPU["inference"].module_call_s, rel=0.2
    )
    assert found["backward"].op_s == pytest.approx(CPU["backward"].op_s, rel=0.2)
    assert found["optimizer"].kernel_s == pytest.approx(CPU["optimizer"].kernel_s, rel=0.2)
    assert found["optimizer"].freed_s_per_byte == pytest.approx(CPU["optimizer"].freed_s_per_byte, rel=0.2)


def test_the_host_of_a_gpu_is_found_from_the_networks_that_wait_for_it():
    networks = _networks(gpu=True)
    found = learn_host(networks, [op_seconds(n.workload) for n in networks])
    assert found["backward"].op_s == pytest.approx(GPU["backward"].op_s, rel=0.15)
    assert found["backward"].scale == pytest.approx(1.0, abs=0.05)
    whole = GPU["inference"]
    seen = found["inference"]
    assert seen.op_s + seen.module_call_s == pytest.approx(whole.op_s + whole.module_call_s, rel=0.2)


def test_power_is_found_and_its_absence_said():
    base = from_datasheet(catalogue.find("nvidia-a100")).model
    networks = _networks(60)
    seconds = [op_seconds(n.workload) for n in networks]
    power = learn_power(networks, seconds, base, 40.0)
    assert power is not None and power.status == "measured"
    assert power.error.median_ape < 0.03  # joules follow the law without noise
    assert all(value >= 0 for value in (*power.factors.values(), *power.class_w.values()))
    without = [replace(n, sample=replace(n.sample, energy_j=None, energy_status="absent")) for n in networks]
    assert learn_power(without, seconds, base, None) is None


def test_without_a_meter_time_is_calibrated_and_power_is_not(machine):
    quiet = tuple(replace(s, energy_j=None, energy_status="absent") for s in samples(40))
    with few_trees():
        found = fit(Record(header(), quiet, None), "quiet", 2, "none")
    assert found.power is None and machine.power is not None
    assert "no meter" in profile_from(found).source


def test_too_few_networks_are_refused():
    with pytest.raises(CalibrationError, match="--minutes"):
        fit(Record(header(), tuple(samples(5)), None), "few", 2, "none")


def test_an_op_of_no_group_seen_falls_back_to_the_roofline(machine):
    _, _, workload = drawn(1)[0]
    odd = replace(workload, ops=tuple(replace(op, dtype="float16") for op in workload.ops))
    with few_trees():
        times = learn_ops(_networks(30))
    assert np.isnan(times.predict(odd).seconds).all() and times.predict(odd).unseen.all()
    assert price(odd, profile_from(machine).model).duration_s.value > 0


def test_the_learning_curve_and_the_record_say_how_much_was_measured(machine):
    assert machine.networks == SEEN and machine.seconds == float(SEEN)
    assert [m for m, _ in machine.learning_curve] == pytest.approx([1.0, 2.0], abs=0.05)  # one network a second
    assert len(measured_of(Record(header(), tuple(samples(3)), None))) == 3


def test_no_group_is_known_better_than_a_measurement_repeats():
    networks = _networks(20)
    exact = [np.array([s or 0.0 for s in network.sample.op_s]) for network in networks]
    assert set(group_spreads(networks, exact).values()) == {_SURE}  # never missed
