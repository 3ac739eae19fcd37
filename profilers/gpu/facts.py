"""What a GPU at hand tells of its energy, and how well: written to a JSON file, section by section.

Made to run unattended: a section that fails leaves its error in the file, and the next one runs. Power is looked at
every 20 ms here, also where the counter moves: the two are to be compared.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from profilers.errors import MeterError
from profilers.fingerprint import fingerprint
from profilers.gpu.gpu_window import PERIOD_S
from profilers.gpu.nvml import NvmlMeter
from profilers.gpu.nvml_sensor import GpuSensor, SensorError, refresh_period_s
from profilers.load import LoadPolicy
from profilers.measurement import relative_deviation
from profilers.session import Plan, measure, measure_repeatedly

REPEATS = 10

_POLLED_S = 3.0
_TRACE_PERIOD_S = 0.005
_ERRORS = (MeterError, SensorError, RuntimeError, ImportError, OSError, ValueError, ArithmeticError, TypeError)
"""What a driver, CUDA (RuntimeError) or a missing package may raise: written down, and the next section runs."""


_Row = tuple[float, "float | None", "float | None"]


@dataclass(frozen=True)
class Work:
    """Something to keep the GPU busy with: `call` may return before the GPU is done, `synchronise` waits for it."""

    name: str
    call: Callable[[], object]
    synchronise: Callable[[], object]
    flops_per_call: float


class _Facts:
    """The facts so far, and the file they are in after every section."""

    def __init__(self, out: Path, say: Callable[[str], object]) -> None:
        self.found: dict[str, Any] = {"schema_version": 1, "errors": []}
        self._out, self._say = out, say

    @contextmanager
    def section(self, name: str) -> Iterator[dict[str, Any]]:
        """A part of the file; its failure is written into it."""
        part: dict[str, Any] = {}
        self.found[name] = part
        self._say(f"{name} ...")
        try:
            yield part
        except _ERRORS as error:
            self.found["errors"].append(f"{name}: {type(error).__name__}: {error}")
            self._say(f"{name} failed: {error}")
        finally:
            _write(self._out, json.dumps(self.found, indent=1, default=str))


def gather(
    make_work: Callable[[], Work],
    out: Path,
    *,
    seconds_s: float = 10.0,
    nvml: Any = None,
    say: Callable[[str], object] = print,
    polled_s: float = _POLLED_S,
    rest_s: float = 1.0,
) -> dict[str, Any]:
    """Find out everything about the first visible GPU and write it to `out`. `nvml` stands for the pynvml module.

    seconds_s: of the idle window and of the window at work; a tenth of it for each of ten equal ones. polled_s: of
    looking for refresh periods. rest_s: before each window.
    """
    facts = _Facts(out, say)
    meter: NvmlMeter | None = None
    with facts.section("device") as part:
        meter = NvmlMeter(import_module("pynvml") if nvml is None else nvml, seldom_s=PERIOD_S)
        if not meter.sensors:
            raise MeterError("NVML lists no GPU: see `nvidia-smi -L`")
        sensor = meter.sensors[0]
        component = meter.components()[0]
        part.update(
            device=component.device,
            driver=component.driver,
            gpus=len(meter.sensors),
            total_energy_counter=sensor.has_counter,
            power_source=sensor.power_source,
            notes=[*meter.notes, *sensor.gpu.notes],
            conditions=asdict(sensor.conditions()),
            fingerprint=fingerprint([component.device or ""], component.driver).to_dict(),
        )
    if meter is None or not meter.sensors:
        return facts.found
    sensor = meter.sensors[0]
    with facts.section("refresh_idle") as part:
        _refreshes(sensor, part, polled_s)
    policy = LoadPolicy(allow_busy=True, look_s=rest_s)
    with facts.section("idle_window") as part:
        with measure([meter], label="idle", policy=policy) as window:
            time.sleep(seconds_s)
        part.update(_told(window.measurement))
    work: Work | None = None
    with facts.section("work") as part:
        work = make_work()
        work.call()
        work.synchronise()
        part.update(name=work.name, flops_per_call=work.flops_per_call)
    if work is not None:
        _at_work(facts, meter, work, policy, seconds_s, polled_s)
    return facts.found


def _at_work(
    facts: _Facts, meter: NvmlMeter, work: Work, policy: LoadPolicy, seconds_s: float, polled_s: float
) -> None:
    sensor = meter.sensors[0]
    with facts.section("work_window") as part:
        with measure([meter], label=work.name, synchronise=work.synchronise, policy=policy) as window:
            calls = _keep_busy(work, seconds_s)
        seen = window.measurement
        energy_j = seen.readings[0].energy_j
        part.update(_told(seen), calls=calls)
        part["flop_per_s"] = calls * work.flops_per_call / seen.duration_s
        part["energy_per_flop_j"] = None if energy_j is None else energy_j / (calls * work.flops_per_call)
    with facts.section("refresh_at_work") as part, _in_background(work, 3 * polled_s + 1.0):
        _refreshes(sensor, part, polled_s)
    with facts.section("ten_equal_windows") as part:
        plan = Plan(windows=REPEATS, most_windows=REPEATS, minimum_window_s=seconds_s / 10, cool_down_s=policy.look_s)
        series = measure_repeatedly(
            work.call, [meter], plan, label=work.name, synchronise=work.synchronise, policy=policy
        )
        readings = [window.readings[0] for window in series.windows]
        part["calls_per_window"] = series.calls_per_window
        part["windows"] = [_told(window) for window in series.windows]
        columns = {
            "energy_j": [reading.energy_j for reading in readings if reading.energy_j is not None],
            "integrated_j": [
                reading.cross_check.integrated_j for reading in readings if reading.cross_check is not None
            ],
            "duration_s": [reading.duration_s for reading in readings],
        }
        for name, values in columns.items():
            part[f"relative_deviation_of_{name}"] = relative_deviation(values) if len(values) == REPEATS else None
    with facts.section("step_response") as part:
        part["columns"] = ["at_s", "counter_j", "power_w"]
        part["rows"] = _trace(sensor, work)


def _refreshes(sensor: GpuSensor, part: dict[str, Any], polled_s: float) -> None:
    """How often each source changes, how large a counter's step is, and what a look costs."""
    sources: dict[str, Callable[[], float]] = {}
    if sensor.has_counter:
        sources["counter"] = sensor.counter_j
    if sensor.power_source is not None:
        sources[f"{sensor.power_source}_power"] = sensor.power_w
    for name, read in sources.items():
        begun_s, looks = time.perf_counter(), 0

        def counting(read: Callable[[], float] = read) -> float:
            nonlocal looks
            looks += 1
            return read()

        period_s, gaps_s = refresh_period_s(counting, within_s=polled_s, polls_s=0.0005)
        part[name] = {
            "refresh_s": period_s,
            "changes": len(gaps_s) + 1 if gaps_s else 0,
            "shortest_s": min(gaps_s, default=None),
            "longest_s": max(gaps_s, default=None),
            "polls_per_s": looks / (time.perf_counter() - begun_s),
            "seconds_per_look": _cost_s(read),
        }


def _cost_s(read: Callable[[], float], times: int = 50) -> float:
    costs = []
    for _ in range(times):
        begun_s = time.perf_counter()
        read()
        costs.append(time.perf_counter() - begun_s)
    return median(costs)


def _keep_busy(work: Work, duration_s: float) -> int:
    """Call in batches of a few milliseconds, so that the GPU's queue neither runs dry nor outlasts the time."""
    ends_s, calls, batch = time.perf_counter() + duration_s, 0, 1
    while time.perf_counter() < ends_s:
        begun_s = time.perf_counter()
        for _ in range(batch):
            work.call()
        work.synchronise()
        calls += batch
        if time.perf_counter() - begun_s < 0.05:
            batch *= 2
    return calls


@contextmanager
def _in_background(work: Work, duration_s: float) -> Iterator[None]:
    thread = threading.Thread(target=_keep_busy, args=(work, duration_s), daemon=True)
    thread.start()
    try:
        time.sleep(0.5)
        yield
    finally:
        thread.join()


def _trace(sensor: GpuSensor, work: Work, idle_s: float = 1.0, busy_s: float = 1.5) -> list[_Row]:
    """Counter and power through idle, work, idle: how late and how blurred each tells a step. The work is at 0 s."""
    rows: list[_Row] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(_TRACE_PERIOD_S):
            try:
                counter_j = sensor.counter_j() if sensor.has_counter else None
                power_w = sensor.power_w() if sensor.power_source is not None else None
            except SensorError:
                return
            rows.append((time.perf_counter(), counter_j, power_w))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    time.sleep(idle_s)
    begun_s = time.perf_counter()
    _keep_busy(work, busy_s)
    time.sleep(idle_s)
    done.set()
    thread.join()
    return [(round(at_s - begun_s, 4), counter_j, power_w) for at_s, counter_j, power_w in rows]


def _told(seen: Any) -> dict[str, Any]:
    reading = seen.readings[0]
    check = reading.cross_check
    return {
        "status": reading.status,
        "energy_j": reading.energy_j,
        "uncertainty_j": reading.uncertainty_j,
        "power_w": reading.power_w,
        "duration_s": reading.duration_s,
        "integrated_j": None if check is None else check.integrated_j,
        "relative_difference": None if check is None else check.relative_difference,
        "agrees": None if check is None else check.agrees,
        "reason": reading.reason,
        "notes": list(reading.notes),
        "conditions": [asdict(conditions) for conditions in reading.conditions],
        "busy": list(seen.busy),
    }


def _write(path: Path, text: str) -> None:
    """Whole or not at all: written beside its place, then moved into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
