"""NVML against a simulated module whose power is a known function of time, so its joules are known by hand."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import pytest

from profilers.errors import MeterError
from profilers.gpu_window import GpuWindow
from profilers.integral import PowerIntegral
from profilers.nvml import NvmlMeter
from profilers.reading import Component, Reading
from profilers.visible import visible_gpus
from tests.profilers.simulation import Clock, SimulatedGpu, SimulatedNvml, window

BUSY = ((0.0, 100.0), (1003.0, 400.0), (1008.0, 100.0))
"""100 W, 400 W for five seconds, 100 W again. The simulated clock starts at 1000 s."""


def meter(clock: Clock, *gpus: SimulatedGpu, visible: str | None = None) -> NvmlMeter:
    return NvmlMeter(SimulatedNvml(gpus, clock), visible, clock, clock.advance)


def read(gpu: SimulatedGpu, seconds: float = 10.0) -> tuple[Reading, float]:
    """The reading of a window, and the joules really drawn in it."""
    clock = Clock()
    (reading,) = window(meter(clock, gpu), clock, seconds).values()
    ended_s = clock()
    return reading, gpu.energy_j(ended_s) - gpu.energy_j(ended_s - reading.duration_s)


@pytest.mark.parametrize("refresh_s", [0.02, 0.1, 0.25])
@pytest.mark.parametrize("seconds", [2.53, 3.07, 10.0])
def test_the_counter_gives_the_truth_whatever_the_window_s_edges(refresh_s: float, seconds: float) -> None:
    reading, truth_j = read(SimulatedGpu(((0.0, 100.0), (1001.2, 400.0)), refresh_s=refresh_s), seconds)
    assert reading.status == "measured"
    assert reading.energy_j == pytest.approx(truth_j, rel=0.01)
    assert reading.uncertainty_j is not None
    assert abs(truth_j - reading.energy_j) <= reading.uncertainty_j + 0.001 * truth_j
    assert reading.cross_check is not None and reading.cross_check.agrees


def test_a_second_of_work_is_within_two_percent() -> None:
    reading, truth_j = read(SimulatedGpu(((0.0, 60.0), (1000.9, 700.0))), 1.23)
    assert reading.energy_j == pytest.approx(truth_j, rel=0.02)


def test_what_the_counter_owes_from_before_the_window_is_set_aside() -> None:
    clock = Clock()
    gpu = SimulatedGpu(((0.0, 1000.0),), refresh_s=0.1)
    (sensor,) = meter(clock, gpu).sensors
    opened = GpuWindow(Component("gpu-0", "gpu", "nvml", refresh_s=0.1), sensor, clock, 0.02)
    opened.before()
    clock.advance(0.1)
    opened.before()
    clock.advance(0.08)
    opened.start()
    for _ in range(51):  # 1.02 s end right after a step, in which 0.08 s of before were counted
        clock.advance(0.02)
        opened.look()
    opened.stop()
    assert opened.reading().energy_j == pytest.approx(1020.0, abs=25.0)


def test_power_is_integrated_by_the_trapezoid_rule() -> None:
    integral = PowerIntegral()
    for at_s, power_w in ((0.0, 0.0), (2.0, 10.0), (3.0, 10.0)):
        integral.add(at_s, power_w)
    assert integral.energy_j == pytest.approx(20.0)  # hand arithmetic: 10 + 10
    assert integral.longest_gap_s == 2.0


def test_without_a_power_sensor_the_counter_stands_alone_and_says_how_sure_it_is() -> None:
    reading, truth_j = read(SimulatedGpu(BUSY, instant=False, average=False))
    assert (reading.status, reading.cross_check) == ("measured", None)
    assert reading.uncertainty_j is not None and reading.energy_j is not None
    assert abs(reading.energy_j - truth_j) <= reading.uncertainty_j


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
