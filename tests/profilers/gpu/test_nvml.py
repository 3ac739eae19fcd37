"""NVML's counter against a simulated module whose power is a known function of time: its joules are known by hand."""

from __future__ import annotations

from random import Random

import pytest

from profilers.gpu.counter_tail import Tail
from profilers.gpu.gpu_window import GpuWindow
from profilers.reading import Component
from tests.profilers.gpu.windows import BUSY, is_right, meter, read
from tests.profilers.simulation import Clock, SimulatedGpu, sampled


@pytest.mark.parametrize("refresh_s", [0.02, 0.1, 0.25])
@pytest.mark.parametrize("seconds", [2.53, 3.07, 10.0])
def test_the_counter_gives_the_truth_whatever_the_window_s_edges(refresh_s: float, seconds: float) -> None:
    reading, truth_j = read(SimulatedGpu(((0.0, 100.0), (1001.2, 400.0)), refresh_s=refresh_s), seconds)
    is_right(reading, truth_j)
    assert reading.cross_check is not None and reading.cross_check.agrees


@pytest.mark.parametrize("seconds", [1.01, 1.23, 1.57, 1.99, 2.5])
def test_a_second_or_two_of_changing_work_is_within_one_percent(seconds: float) -> None:
    is_right(*read(SimulatedGpu(((0.0, 60.0), (1000.9, 700.0), (1001.3, 200.0), (1001.8, 650.0))), seconds))


@pytest.mark.parametrize("seed", range(20))
def test_any_load_is_within_one_percent_in_any_window_of_a_second_or_more(seed: int) -> None:
    drawn = Random(seed)
    moments_s = sorted(1000.0 + drawn.uniform(0.5, 13.0) for _ in range(8))
    steps = [(at_s, drawn.choice([60.0, 200.0, 400.0, 700.0])) for at_s in moments_s]
    gpu = SimulatedGpu(((0.0, 60.0), *steps), refresh_s=drawn.choice([0.02, 0.1]))
    is_right(*read(gpu, drawn.uniform(1.0, 12.0)))


EDGES = (1.0, 1.013, 1.027, 1.041, 1.055, 1.069, 1.083, 1.099, 1.7, 2.43)
"""Windows that end in all parts of a refresh."""


@pytest.mark.parametrize("seconds", EDGES)
@pytest.mark.parametrize("power_refresh_s", [0.0, 0.02, 0.1])
def test_work_that_ends_with_the_window_is_told_from_what_comes_after(seconds: float, power_refresh_s: float) -> None:
    """Also where the power sensor, refreshed as seldom as the counter, still tells the work's power after the work."""
    work = SimulatedGpu(((0.0, 60.0), (1000.7, 700.0)), power_refresh_s=power_refresh_s)
    is_right(*read(work, seconds, (0.0, 60.0)))


@pytest.mark.parametrize("seconds", EDGES)
def test_power_that_ramps_down_after_the_window_is_told_from_it(seconds: float) -> None:
    ramp = [(0.01 * step, 700.0 - 64.0 * step) for step in range(11)]
    is_right(*read(SimulatedGpu(((0.0, 60.0), (1000.7, 700.0))), seconds, *ramp))


@pytest.mark.parametrize("seconds", EDGES)
def test_without_a_power_sensor_the_counter_alone_tells_the_end(seconds: float) -> None:
    work = SimulatedGpu(((0.0, 60.0), (1000.7, 700.0)), instant=False, average=False)
    reading, truth_j = read(work, seconds, (0.0, 60.0))
    is_right(reading, truth_j)
    assert reading.cross_check is None


def test_what_is_unsure_of_the_end_is_said() -> None:
    """The load changes right before the end and right after it: no two accounts need agree."""
    for seconds in EDGES:
        gpu = SimulatedGpu(((0.0, 60.0), (1000.9, 700.0), (1001.03, 60.0), (1001.09, 700.0)), power_refresh_s=0.1)
        reading, truth_j = read(gpu, seconds, (0.03, 60.0), (0.07, 700.0), (0.15, 60.0))
        assert reading.energy_j is not None and reading.uncertainty_j is not None
        assert abs(reading.energy_j - truth_j) <= reading.uncertainty_j + 0.001 * truth_j


def test_a_tail_by_hand() -> None:
    """100 W up to the end, 40 ms after a step of a counter that is refreshed every 100 ms; 10 W from then on."""
    tail = Tail(0.0, 1000.0, 100.0, refresh_s=0.1)
    for at_s, counter_j, power_w in (
        (0.0599, 1000.0, 10.0),  # held at 100 W until now, as a slow sensor may: (100 + 10) / 2 x 0.06 = 3.3 J
        (0.0601, 1004.6, 10.0),  # 4 J of before the end and 0.6 J of after it
        (0.1599, 1004.6, 10.0),
        (0.1601, 1005.6, 10.0),
    ):
        assert not tail.complete
        tail.add(at_s, counter_j, power_w)
    assert tail.complete
    told = tail.energy_j()
    assert told is not None
    tail_j, doubt_j = told
    assert tail_j == pytest.approx(4.0, abs=0.01)
    assert doubt_j == pytest.approx(3.3 - 0.6, abs=0.02)


def test_a_counter_that_fails_after_the_window_gives_way_to_power() -> None:
    clock = Clock()
    gpu = SimulatedGpu(((0.0, 100.0), (1003.2, 400.0)))
    take = meter(clock, gpu).prepare()
    ended_s = sampled(take, clock, 5.0)
    gpu.counter = False
    (reading,) = take.readings()
    truth_j = gpu.energy_j(ended_s) - gpu.energy_j(ended_s - reading.duration_s)
    assert reading.status == "integrated"
    assert reading.energy_j is not None and reading.uncertainty_j is not None
    assert abs(reading.energy_j - truth_j) <= min(reading.uncertainty_j, 0.02 * truth_j)
    assert any("no step" in note for note in reading.notes)


def test_a_power_sensor_that_fails_after_the_window_leaves_the_counter() -> None:
    clock = Clock()
    gpu = SimulatedGpu(((0.0, 100.0), (1003.2, 400.0)))
    take = meter(clock, gpu).prepare()
    ended_s = sampled(take, clock, 5.0)
    gpu.instant = False
    (reading,) = take.readings()
    is_right(reading, gpu.energy_j(ended_s) - gpu.energy_j(ended_s - reading.duration_s))


def test_counters_that_step_at_different_times_are_each_waited_for() -> None:
    clock = Clock()
    work = ((0.0, 60.0), (1001.9, 700.0), (1003.3, 300.0))
    gpus = [SimulatedGpu(work, uuid=f"GPU-{refresh_s}", refresh_s=refresh_s) for refresh_s in (0.1, 0.25, 0.02)]
    take = meter(clock, *gpus).prepare()
    ended_s = sampled(take, clock, 3.17)
    readings = take.readings()
    assert take.readings() is readings
    for gpu, reading in zip(gpus, readings, strict=True):
        is_right(reading, gpu.energy_j(ended_s) - gpu.energy_j(ended_s - reading.duration_s))


def test_a_working_counter_is_looked_at_seldom_and_any_other_gpu_often() -> None:
    def looks(gpu: SimulatedGpu) -> int:
        clock = Clock()
        take = meter(clock, gpu).prepare()
        take.start()
        begun, ends_s = gpu.power_calls, clock() + 10.0
        while clock() < ends_s:
            clock.advance(take.period_s)
            take.sample()
        return gpu.power_calls - begun

    assert looks(SimulatedGpu()) <= 2 * 10.0 + 2
    assert looks(SimulatedGpu(counter=False)) >= 490
    assert 240 <= looks(SimulatedGpu(reset_at_s=1005.0)) <= 290


@pytest.mark.parametrize("reset_at_s", [1002.9, 1003.3, 1004.0, 1005.55, 1008.1, 1009.9])
def test_what_was_looked_at_seldom_before_a_reset_is_in_the_uncertainty(reset_at_s: float) -> None:
    reading, truth_j = read(SimulatedGpu(BUSY, reset_at_s=reset_at_s))
    assert reading.status == "integrated"
    assert reading.energy_j is not None and reading.uncertainty_j is not None
    assert abs(reading.energy_j - truth_j) <= reading.uncertainty_j


def test_a_counter_that_is_stuck_from_some_moment_on_gives_way_to_power() -> None:
    class Stuck(SimulatedGpu):
        def counted_until_s(self, stepped_s: float) -> float:
            return min(stepped_s, 1004.0)

    reading, truth_j = read(Stuck(BUSY))
    assert reading.status == "integrated"
    assert reading.energy_j == pytest.approx(truth_j, rel=0.02)


@pytest.mark.parametrize("seconds", [3.0, 10.0, 60.0])
def test_work_that_repeats_in_step_with_the_looks_does_not_make_counter_and_power_disagree(seconds: float) -> None:
    steps = [(1000.0 + 0.25 * turn, 700.0 if turn % 2 else 60.0) for turn in range(300)]
    reading, truth_j = read(SimulatedGpu(((0.0, 60.0), *steps)), seconds)
    is_right(reading, truth_j)
    assert reading.cross_check is not None and reading.cross_check.agrees


def test_what_the_counter_owes_from_before_the_window_is_set_aside() -> None:
    clock = Clock()
    gpu = SimulatedGpu(((0.0, 1000.0),), refresh_s=0.1)
    (sensor,) = meter(clock, gpu).sensors
    opened = GpuWindow(Component("gpu-0", "gpu", "nvml", refresh_s=0.1), sensor, clock)
    opened.before()
    while opened.awaits_start:
        clock.advance(0.001)
        opened.before()
    clock.advance(0.08)
    opened.start()
    for _ in range(51):  # 1.02 s end right after a step, in which 0.08 s of before were counted
        clock.advance(0.02)
        opened.look()
    opened.stop()
    while opened.awaits_end:
        clock.advance(0.001)
        opened.after()
    is_right(opened.reading(), 1020.0)
