"""Random, truncated and contradictory sensors and records: nothing crashes, nothing negative or NaN comes out."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from profilers.cpu.rapl import CounterError, RaplMeter, step_uj
from profilers.gpu.nvml import NvmlMeter
from profilers.gpu.nvml_sensor import GpuSensor
from profilers.gpu.visible import Gpu, visible_gpus
from profilers.integral import PowerIntegral
from profilers.measurement import Measurement
from profilers.reading import Reading
from profilers.record import read, run_of, to_dict
from tests.profilers.simulation import Clock, SimulatedGpu, SimulatedNvml
from tests.profilers.test_record import MEASUREMENT

COUNT = st.one_of(
    st.integers(0, 2**64).map(str),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(["", "\n", "nan", "inf", "-1", "1e9", "0x10", "1 2", "12\n34", "9" * 30, "\x00", "٣"]),
    st.text(max_size=5),
)
NAME = st.sampled_from(
    [
        "package-0",
        "package-1",
        "package-0-die-1",
        "package",
        "dram",
        "psys",
        "core",
        "package-x",
        "",
        "\x00\xff",
        "package--1",
    ]
)
ZONE = st.sampled_from(
    [
        "intel-rapl:0",
        "intel-rapl:1",
        "intel-rapl:0:0",
        "intel-rapl:0:1",
        "intel-rapl-mmio:0",
        "intel-rapl:x",
        "intel-rapl",
    ]
)


def check(readings: Iterable[Reading]) -> None:
    readings = tuple(readings)
    for reading in readings:
        assert (reading.energy_j is None) == (reading.status == "absent")
        assert reading.energy_j is None or (math.isfinite(reading.energy_j) and reading.energy_j > 0)
        assert reading.partial is None or reading.partial.energy_j >= 0
        assert reading.uncertainty_j is None or reading.uncertainty_j >= 0
        assert reading.reason or reading.energy_j is not None
    total = Measurement(1.0, readings).total.energy_j
    assert total is None or (math.isfinite(total) and total > 0)


@settings(max_examples=150, deadline=None)
@given(
    zones=st.dictionaries(ZONE, st.tuples(NAME, COUNT, st.one_of(st.none(), COUNT)), max_size=5),
    looks=st.lists(st.tuples(ZONE, st.one_of(st.none(), COUNT), st.floats(0, 100)), max_size=8),
)
def test_any_powercap_tree(
    zones: dict[str, tuple[str, str, str | None]], looks: list[tuple[str, str | None, float]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root, clock = Path(directory), Clock()
        for zone, (name, energy, limit) in zones.items():
            (root / zone).mkdir()
            (root / zone / "name").write_text(name, encoding="utf-8")
            (root / zone / "energy_uj").write_text(energy, encoding="utf-8")
            if limit is not None:
                (root / zone / "max_energy_range_uj").write_text(limit, encoding="utf-8")
        take = RaplMeter(root, clock).prepare()
        take.start()
        for zone, energy, seconds in looks:
            clock.advance(seconds)
            if (root / zone).is_dir():
                if energy is None:
                    (root / zone / "energy_uj").unlink(missing_ok=True)
                else:
                    (root / zone / "energy_uj").write_text(energy, encoding="utf-8")
            take.sample()
        take.stop()
        check(take.readings())


@given(
    before=st.integers(0, 2**64),
    after=st.integers(0, 2**64),
    limit=st.one_of(st.none(), st.integers(1, 2**64)),
    elapsed_s=st.floats(0, 1e6),
)
def test_any_step_of_a_counter(before: int, after: int, limit: int | None, elapsed_s: float) -> None:
    try:
        step = step_uj(before, after, limit, elapsed_s)
    except CounterError:
        return
    assert 0 <= step <= 2_000.0 * (elapsed_s + 0.1) * 1e6
    assert (before + step - after) % (limit or step + 1) == 0 or before + step == after


ANSWER = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.none(),
    st.text(max_size=3),
    st.booleans(),
    st.just("error"),
    st.integers(0, 10**6),
)


class FuzzedNvml(SimulatedNvml):
    """Answers what the test draws, whatever is asked."""

    def __init__(self, answers: list[Any], clock: Clock) -> None:
        super().__init__([SimulatedGpu()], clock)
        self.answers = answers

    def _next(self) -> Any:
        self.clock.advance(0.0005)  # type: ignore[attr-defined]
        answer = self.answers.pop(0) if self.answers else 5
        self.answers.append(answer)
        if answer == "error":
            raise self.NVMLError
        return answer

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: SimulatedGpu) -> Any:
        return self._next()

    def nvmlDeviceGetFieldValues(self, gpu: SimulatedGpu, fields: Any) -> Any:
        answer = self._next()
        return [SimpleNamespace(nvmlReturn=0, valueType=1, value=SimpleNamespace(uiVal=answer))] if answer else []

    def nvmlDeviceGetPowerUsage(self, gpu: SimulatedGpu) -> Any:
        return self._next()

    def nvmlDeviceGetTemperature(self, gpu: SimulatedGpu, sensor: int) -> Any:
        return self._next()


@settings(max_examples=100, deadline=None)
@given(answers=st.lists(ANSWER, min_size=1, max_size=20), looks=st.lists(st.floats(0, 2), max_size=20))
def test_any_driver(answers: list[Any], looks: list[float]) -> None:
    clock = Clock()
    take = NvmlMeter(FuzzedNvml(answers, clock), None, clock, clock.advance).prepare()
    take.start()
    for seconds in looks:
        clock.advance(seconds)
        take.sample()
    take.stop()
    check(take.readings())


def test_a_driver_without_functions_has_no_sensors() -> None:
    sensor = GpuSensor(SimpleNamespace(NVMLError=ValueError), Gpu(None, 0, "GPU-0", "old"))
    assert (sensor.has_counter, sensor.power_source, sensor.utilization()) == (False, None, None)
    assert sensor.conditions().temperature_c is None


@given(st.text(alphabet="0123456789,-GPUMIGabc/ \t", max_size=30))
def test_any_visible_devices(value: str) -> None:
    gpus = [SimulatedGpu(uuid="GPU-aaaa"), SimulatedGpu(uuid="GPU-bbbb", mig=("MIG-c",))]
    chosen, _ = visible_gpus(SimulatedNvml(gpus, Clock()), value)
    assert len({gpu.index for gpu in chosen}) == len(chosen) <= 2


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=20))
def test_any_power(samples: list[tuple[float, float]]) -> None:
    integral = PowerIntegral()
    for at_s, power_w in samples:
        integral.add(at_s, power_w)
    assert integral.energy_j >= 0 and not math.isnan(integral.energy_j)
    assert integral.samples + integral.rejected == len(samples)


WHOLE = json.dumps(to_dict(run_of(MEASUREMENT)))


def check_record(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "runs.jsonl"
        path.write_bytes(text)
        for run in read(path).runs:
            check(run.measurement.readings)
            json.dumps(to_dict(run), allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_record(noise: bytes) -> None:
    check_record(noise)
    check_record(WHOLE.encode() + b"\n" + noise)


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, len(WHOLE)), at=st.integers(0, len(WHOLE)), noise=st.binary(max_size=4))
def test_a_truncated_or_damaged_record(cut: int, at: int, noise: bytes) -> None:
    check_record(WHOLE[:cut].encode())
    check_record(WHOLE[:at].encode() + noise + WHOLE[at + len(noise) :].encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, part in inner for deeper in _paths(part, (*path, key)))]


PATHS = [path for path in _paths(json.loads(WHOLE)) if path]


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(PATHS), value=JSON)
def test_a_record_with_any_value_in_any_place(path: tuple[Any, ...], value: Any) -> None:
    raw = json.loads(WHOLE)
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    check_record(json.dumps(raw).encode())
