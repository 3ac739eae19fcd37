"""NVIDIA GPUs through NVML: the total-energy counter where it exists, else power integrated over time.

The counter is refreshed in steps (about every 100 ms; the period is measured, not assumed). A window therefore starts
right after a step, and after its end the counter is polled until its next steps, which hold what the last one in the
window did not yet show (`profilers.gpu.counter_tail`). In mid-window a counter that moves is looked at seldom, since
looking costs; power is then a coarse cross-check. Where the counter is missing, stands still or was reset, power is
looked at every 20 ms from then on, and its integral stands in. On A100 and H100 the power sensor looks at 25% of the
time alone (arXiv 2312.02741), so fast changing loads need long windows either way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from profilers.errors import MeterError
from profilers.gpu.gpu_window import SELDOM_S, USUAL_REFRESH_S, GpuWindow
from profilers.gpu.nvml_sensor import GpuSensor, SensorError, refresh_period_s
from profilers.gpu.visible import text, visible_gpus
from profilers.meter import Activity
from profilers.reading import Component, Reading

_LONGEST_WAIT_S = 0.5
"""For a counter's step: five refreshes as they usually are."""

_POLL_S = 0.001


class NvmlMeter:
    """Reads every visible GPU. `nvml` is the pynvml module or its like, already imported."""

    name = "nvml"

    def __init__(
        self,
        nvml: Any,
        visible: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
        *,
        seldom_s: float = SELDOM_S,
    ) -> None:
        """`visible`: a value of CUDA_VISIBLE_DEVICES; None reads the environment.

        seldom_s: how often to look at a GPU whose counter moves.
        """
        self._clock, self._sleep, self._seldom_s = clock, sleep, seldom_s
        wanted = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        try:
            nvml.nvmlInit()
            gpus, self.notes = visible_gpus(nvml, wanted)
        except (nvml.NVMLError, OSError) as error:
            raise MeterError(f"NVML does not answer ({error}): see that `nvidia-smi` works") from error
        if not gpus and wanted is not None:
            raise MeterError(f"CUDA_VISIBLE_DEVICES={wanted!r} hides every GPU: unset it, or name one that exists")
        self._driver = _driver(nvml)
        self.sensors = tuple(GpuSensor(nvml, gpu) for gpu in gpus)
        self._refresh_s: dict[int, float] = {}

    def components(self) -> tuple[Component, ...]:
        """One per GPU, named by its index in NVML's order."""
        return tuple(self._component(sensor) for sensor in self.sensors)

    def prepare(self) -> NvmlTake:
        """A window. The first time, the counters' refresh periods are measured (half a second each)."""
        for sensor in self.sensors:
            if sensor.has_counter and sensor.gpu.index not in self._refresh_s:
                self._refresh_s[sensor.gpu.index] = self._measured_refresh_s(sensor)
        windows = [GpuWindow(self._component(sensor), sensor, self._clock, self._seldom_s) for sensor in self.sensors]
        return NvmlTake(windows, self._clock, self._sleep)

    def activity(self) -> Activity | None:
        """The processes on the GPUs, and the utilisation of the busiest."""
        seen = [share for sensor in self.sensors if (share := sensor.utilization()) is not None]
        return Activity(frozenset().union(*(sensor.pids() for sensor in self.sensors)), max(seen) if seen else None)

    def _component(self, sensor: GpuSensor) -> Component:
        gpu = sensor.gpu
        refresh_s = self._refresh_s.get(gpu.index, USUAL_REFRESH_S)
        return Component(f"gpu-{gpu.index}", "gpu", "nvml", f"{gpu.name} {gpu.uuid}", refresh_s, driver=self._driver)

    def _measured_refresh_s(self, sensor: GpuSensor) -> float:
        try:
            seen_s, _ = refresh_period_s(
                sensor.counter_j, self._clock, self._sleep, within_s=_LONGEST_WAIT_S, polls_s=_POLL_S
            )
        except SensorError:
            seen_s = None
        return seen_s or USUAL_REFRESH_S


class NvmlTake:
    """One window of every GPU."""

    def __init__(
        self, windows: Sequence[GpuWindow], clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._windows, self._clock, self._sleep = windows, clock, sleep
        self._readings: tuple[Reading, ...] | None = None

    @property
    def period_s(self) -> float:
        """As soon as the GPU that needs it soonest."""
        return min((window.period_s for window in self._windows), default=SELDOM_S)

    def start(self) -> None:
        """Wait until every counter has stepped once, then take the first reading of each."""
        ends_s = self._clock() + _LONGEST_WAIT_S
        for window in self._windows:
            window.before()
        while any(window.awaits_start for window in self._windows) and self._clock() < ends_s:
            self._sleep(_POLL_S)
            for window in self._windows:
                window.before()
        for window in self._windows:
            window.start()

    def sample(self) -> None:
        """Look at every GPU."""
        for window in self._windows:
            window.look()

    def stop(self) -> None:
        """Last look at every GPU."""
        for window in self._windows:
            window.stop()

    def readings(self) -> tuple[Reading, ...]:
        """One reading per GPU. The first time, wait until every counter has shown what it owes of the window."""
        if self._readings is None:
            self._await_ends()
            self._readings = tuple(window.reading() for window in self._windows)
        return self._readings

    def _await_ends(self) -> None:
        """Two steps of every counter, or three refreshes."""
        longest_s = max([_LONGEST_WAIT_S, *(3 * window.refresh_s for window in self._windows)])
        ends_s = self._clock() + longest_s
        while any(window.awaits_end for window in self._windows) and self._clock() < ends_s:
            for window in self._windows:
                window.after()
            self._sleep(_POLL_S)


def _driver(nvml: Any) -> str | None:
    try:
        return text(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return None
