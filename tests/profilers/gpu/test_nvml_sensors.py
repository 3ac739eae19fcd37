"""NVML where a sensor is missing, resets, fails or disagrees: what is integrated, absent, or said."""

from __future__ import annotations

import pytest

from profilers.integral import PowerIntegral
from tests.profilers.gpu.windows import BUSY, meter, read
from tests.profilers.simulation import Clock, SimulatedGpu, window


def test_power_is_integrated_by_the_trapezoid_rule() -> None:
    integral = PowerIntegral()
    for at_s, power_w in ((0.0, 0.0), (2.0, 10.0), (3.0, 10.0)):
        integral.add(at_s, power_w)
    assert integral.energy_j == pytest.approx(20.0)  # hand arithmetic: 10 + 10
    assert integral.longest_gap_s == 2.0


def test_without_a_counter_power_is_integrated() -> None:
    reading, truth_j = read(SimulatedGpu(BUSY, counter=False))
    assert reading.status == "integrated"
    assert reading.energy_j == pytest.approx(truth_j, rel=0.01)


def test_with_average_power_alone_the_blur_is_said() -> None:
    reading, truth_j = read(SimulatedGpu(BUSY, counter=False, instant=False))
    assert reading.status == "integrated"
    assert reading.energy_j == pytest.approx(truth_j, rel=0.02)
    assert any("average" in note for note in reading.notes)


def test_without_any_sensor_the_gpu_is_absent() -> None:
    reading, _ = read(SimulatedGpu(counter=False, instant=False, average=False))
    assert (reading.status, reading.energy_j) == ("absent", None)
    assert "neither" in (reading.reason or "")


def test_several_gpus_are_read_each() -> None:
    clock = Clock()
    gpus = [SimulatedGpu(((0.0, 100.0 * number),), uuid=f"GPU-{number}") for number in (1, 2, 3)]
    seen = window(meter(clock, *gpus), clock, 10.0)
    assert [seen[f"gpu-{index}"].energy_j for index in range(3)] == [
        pytest.approx(joules, rel=0.01) for joules in (1000.0, 2000.0, 3000.0)
    ]


def test_a_counter_reset_is_recovered_from_power() -> None:
    reading, truth_j = read(SimulatedGpu(BUSY, reset_at_s=1005.0))
    assert reading.status == "integrated"
    assert reading.energy_j == pytest.approx(truth_j, rel=0.01)
    assert any("reset" in note for note in reading.notes)


def test_a_counter_reset_without_power_is_absent() -> None:
    reading, _ = read(SimulatedGpu(BUSY, reset_at_s=1005.0, instant=False, average=False))
    assert (reading.status, reading.energy_j) == ("absent", None)
    assert "reset" in (reading.reason or "")


def test_a_gpu_lost_in_mid_window_is_absent_from_then_and_the_other_goes_on() -> None:
    clock = Clock()
    lost = SimulatedGpu(((0.0, 100.0),), uuid="GPU-1", lost_at_s=1006.0)
    well = SimulatedGpu(((0.0, 200.0),), uuid="GPU-2")
    seen = window(meter(clock, lost, well), clock, 10.0)
    assert seen["gpu-0"].status == "absent"
    assert "GPU is lost" in (seen["gpu-0"].reason or "")
    partial = seen["gpu-0"].partial
    assert partial is not None
    assert partial.energy_j == pytest.approx(100.0 * partial.until_s, rel=0.03)
    assert seen["gpu-1"].energy_j == pytest.approx(2000.0, rel=0.01)


def test_a_counter_that_stops_answering_gives_way_to_power() -> None:
    clock = Clock()
    gpu = SimulatedGpu(((0.0, 100.0),))
    simulated = meter(clock, gpu)
    take = simulated.prepare()
    take.start()
    for step in range(500):
        clock.advance(0.02)
        gpu.counter = step < 250
        take.sample()
    take.stop()
    (reading,) = take.readings()
    assert reading.status == "integrated"
    assert reading.energy_j == pytest.approx(1000.0, rel=0.01)


def test_disagreement_of_counter_and_power_is_reported() -> None:
    reading, _ = read(SimulatedGpu(counter_error=0.2))
    assert reading.cross_check is not None and not reading.cross_check.agrees
    assert reading.cross_check.relative_difference == pytest.approx(1 / 1.2 - 1, abs=0.01)
    assert any("disagree" in note for note in reading.notes)


def test_a_window_shorter_than_ten_refreshes_is_refused() -> None:
    reading, _ = read(SimulatedGpu(), 0.5)
    assert (reading.status, reading.energy_j) == ("absent", None)
    assert "measure_repeatedly" in (reading.reason or "")


def test_a_counter_that_stands_still_is_no_measured_zero() -> None:
    reading, _ = read(SimulatedGpu(((0.0, 0.0),)))
    assert (reading.status, reading.energy_j) == ("absent", None)


def test_power_that_went_unread_is_not_integrated() -> None:
    clock = Clock()
    gpu = SimulatedGpu(BUSY, counter=False)
    take = meter(clock, gpu).prepare()
    take.start()
    clock.advance(10.0)
    take.stop()
    (reading,) = take.readings()
    assert reading.status == "absent"
    assert "unread" in (reading.reason or "")


def test_the_refresh_period_is_measured() -> None:
    clock = Clock()
    simulated = meter(clock, SimulatedGpu(refresh_s=0.04))
    simulated.prepare()
    assert simulated.components()[0].refresh_s == pytest.approx(0.04, abs=0.003)


def test_conditions_are_noted_at_both_edges() -> None:
    reading, _ = read(SimulatedGpu())
    assert [(seen.temperature_c, seen.clock_hz, seen.memory_clock_hz) for seen in reading.conditions] == [
        (45.0, 1.98e9, 3.201e9)
    ] * 2
