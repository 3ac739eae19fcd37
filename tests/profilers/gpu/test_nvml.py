"""NVML against a simulated module whose power is a known function of time, so its joules are known by hand."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from random import Random

import pytest

from profilers.errors import MeterError
from profilers.gpu.counter_tail import Tail
from profilers.gpu.gpu_window import GpuWindow
from profilers.gpu.nvml import NvmlMeter
from profilers.gpu.visible import visible_gpus
from profilers.integral import PowerIntegral
from profilers.reading import Component, Reading
from tests.profilers.simulation import Clock, SimulatedGpu, SimulatedNvml, sampled, window

BUSY = ((0.0, 100.0), (1003.0, 400.0), (1008.0, 100.0))
"""100 W, 400 W for five seconds, 100 W again. The simulated clock starts at 1000 s."""


def meter(clock: Clock, *gpus: SimulatedGpu, visible: str | None = None) -> NvmlMeter:
    return NvmlMeter(SimulatedNvml(gpus, clock), visible, clock, clock.advance)


def read(gpu: SimulatedGpu, seconds: float = 10.0, *after: tuple[float, float]) -> tuple[Reading, float]:
    """The reading of a window, and the joules really drawn in it. `after`: watts from so many seconds after its end
    (and a microsecond, so that what the simulated counter has shown stays true)."""
    clock = Clock()
    take = meter(clock, gpu).prepare()
    ended_s = sampled(take, clock, seconds)
    gpu.steps = (*gpu.steps, *((ended_s + 1e-6 + since_s, watts) for since_s, watts in after))
    (reading,) = take.readings()
    return reading, gpu.energy_j(ended_s) - gpu.energy_j(ended_s - reading.duration_s)


def is_right(reading: Reading, truth_j: float) -> None:
    """Measured, within 1% of the truth, and no farther from it than it says."""
    assert reading.status == "measured"
    assert reading.energy_j == pytest.approx(truth_j, rel=0.01)
    assert reading.uncertainty_j is not None
    assert abs(truth_j - reading.energy_j) <= reading.uncertainty_j + 0.001 * truth_j


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


def test_the_structures_of_the_real_bindings_are_read() -> None:
    pynvml = import_module("pynvml")

    class Bindings(SimulatedNvml):
        def nvmlDeviceGetFieldValues(self, gpu: SimulatedGpu, fields: Sequence[int]) -> object:
            values = (pynvml.c_nvmlFieldValue_t * len(fields))()
            values[0].fieldId = fields[0]
            values[0].valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
            values[0].value.uiVal = 123_456
            return values

    (sensor,) = NvmlMeter(Bindings([SimulatedGpu()], Clock())).sensors
    assert pynvml.NVML_FI_DEV_POWER_INSTANT == 186
    assert (sensor.power_source, sensor.power_w()) == ("instant", pytest.approx(123.456))


GPUS = (
    SimulatedGpu(uuid="GPU-aaaa1111"),
    SimulatedGpu(uuid="GPU-aaaa2222"),
    SimulatedGpu(uuid="GPU-bbbb3333", mig=("MIG-cccc",)),
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        ("0,7,1", [0]),
        ("-1", []),
        ("0,2,-1,1", [0, 2]),
        ("nonsense,0", []),
        ("GPU-aaaa2222", [1]),
        ("GPU-b", [2]),
        ("GPU-aaaa", []),
        ("GPU-zzzz,0", []),
        ("MIG-cccc", [2]),
        ("MIG-GPU-bbbb3333/1/0", [2]),
        ("MIG-dddd,0", []),
        ("MIG-cccc,2", [2]),
        ("0,0", [0]),
        (" 1 , 0 ", [1, 0]),
    ],
)
def test_visible_devices_as_cuda_reads_them(value: str | None, expected: Sequence[int]) -> None:
    chosen, _ = visible_gpus(SimulatedNvml(GPUS, Clock()), value)
    assert [gpu.index for gpu in chosen] == expected


def test_a_mig_instance_is_its_parent_and_that_is_said() -> None:
    clock = Clock()
    seen = window(meter(clock, *GPUS, visible="MIG-cccc"), clock, 5.0)
    assert list(seen) == ["gpu-2"]
    assert any("whole of GPU 2" in note for note in seen["gpu-2"].notes)


def test_a_gpu_split_into_instances_says_so_unasked() -> None:
    clock = Clock()
    seen = window(meter(clock, *GPUS), clock, 5.0)
    assert any("MIG" in note for note in seen["gpu-2"].notes)
    assert seen["gpu-0"].notes == ()


def test_an_invalid_entry_is_noted() -> None:
    _, notes = visible_gpus(SimulatedNvml(GPUS, Clock()), "0,7")
    assert any("'7'" in note for note in notes)


def test_hidden_gpus_are_an_error_with_the_remedy() -> None:
    with pytest.raises(MeterError, match="unset it"):
        meter(Clock(), *GPUS, visible="")


def test_activity_tells_processes_and_utilisation() -> None:
    activity = meter(Clock(), SimulatedGpu(pids=(4, 5), utilization=30)).activity()
    assert activity is not None
    assert (activity.pids, activity.utilization) == (frozenset({4, 5}), 0.3)
