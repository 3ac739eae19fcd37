"""`facts` against a simulated GPU that works when it is called, in real time.

Real threads look at it, so that a busy machine may look late: what is asserted holds at any speed of the machine. How
well windows are read is asserted on simulated clocks, in `test_nvml.py`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from profilers.gpu.facts import Work, gather
from tests.profilers.simulation import SimulatedGpu, SimulatedNvml


class WorkingGpu(SimulatedGpu):
    """300 W while a call is under way (and up to 30 ms after), else 60 W; joules by the integral of that."""

    def __init__(self) -> None:
        super().__init__(refresh_s=0.02)
        self.busy_until_s = 0.0
        self.pieces: list[tuple[float, float]] = []

    def call(self) -> None:
        now_s = time.perf_counter()
        if self.pieces and now_s <= self.pieces[-1][1]:
            self.pieces[-1] = (self.pieces[-1][0], now_s + 0.03)
        else:
            self.pieces.append((now_s, now_s + 0.03))
        time.sleep(0.001)

    def power_w(self, at_s: float) -> float:
        return 300.0 if any(begun_s <= at_s < ended_s for begun_s, ended_s in self.pieces[-3:]) else 60.0

    def energy_j(self, until_s: float) -> float:
        worked_s = sum(max(0.0, min(ended_s, until_s) - begun_s) for begun_s, ended_s in self.pieces)
        return 60.0 * until_s + 240.0 * worked_s


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    gpu, path = WorkingGpu(), tmp_path_factory.mktemp("facts") / "deep" / "facts.json"
    work = Work("simulated", gpu.call, lambda: None, 1e9)
    nvml = SimulatedNvml([gpu], time.perf_counter)
    gather(lambda: work, path, seconds_s=1.0, nvml=nvml, say=lambda line: None, polled_s=0.4, rest_s=0.05)
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def test_every_section_is_filled(gathered: dict[str, dict[str, object]]) -> None:
    assert gathered["errors"] == []
    assert gathered["device"]["total_energy_counter"] is True
    assert gathered["device"]["power_source"] == "instant"
    seen_s = gathered["refresh_idle"]["counter"]["refresh_s"]  # type: ignore[index]
    assert seen_s is None or seen_s >= 0.7 * 0.02  # steps are seen late on a busy machine, never early


def test_idle_and_work_are_told_apart(gathered: dict[str, dict[str, float]]) -> None:
    idle, work = gathered["idle_window"], gathered["work_window"]
    assert _told(idle) and _told(work)
    if idle["power_w"] is not None:
        assert idle["power_w"] == pytest.approx(60.0, rel=0.05)  # whenever it was looked at
    if work["power_w"] is not None:
        assert 60.0 < work["power_w"] <= 300.0 * 1.05  # it rests where its caller is not let run
        assert work["energy_per_flop_j"] > 0


def _told(window: dict[str, object]) -> bool:
    """Joules, or why there are none."""
    return window["energy_j"] is not None or bool(window["reason"])


def test_ten_equal_windows_are_told(gathered: dict[str, dict[str, object]]) -> None:
    windows = gathered["ten_equal_windows"]["windows"]
    assert isinstance(windows, list) and len(windows) == 10
    assert all(map(_told, windows))
    apart = gathered["ten_equal_windows"]["relative_deviation_of_energy_j"]
    read = [window["energy_j"] for window in windows if window["energy_j"] is not None]
    assert (apart is None) == (len(read) < 10)  # of windows that were not all read there is no deviation
    assert apart is None or apart >= 0  # type: ignore[operator]
    rows = gathered["step_response"]["rows"]
    assert isinstance(rows, list) and len(rows) > 10
    times_s = [at_s for at_s, _, _ in rows]
    assert times_s == sorted(times_s) and times_s[0] < 0 < times_s[-1]


def test_a_section_that_fails_leaves_its_error_and_the_others(tmp_path: Path) -> None:
    def no_torch() -> Work:
        raise ImportError("No module named 'torch'")

    path = tmp_path / "facts.json"
    nvml = SimulatedNvml([SimulatedGpu(counter=False, refresh_s=0.02)], time.perf_counter)
    gather(no_torch, path, seconds_s=0.3, nvml=nvml, say=lambda line: None, polled_s=0.05, rest_s=0.05)
    found = json.loads(path.read_text())
    assert len(found["errors"]) == 1 and "torch" in found["errors"][0]
    assert found["device"]["total_energy_counter"] is False
    assert "idle_window" in found


def test_without_a_gpu_the_file_says_why(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    gather(lambda: pytest.fail("no work"), path, nvml=SimulatedNvml([], time.perf_counter), say=lambda line: None)
    assert "no GPU" in json.loads(path.read_text())["errors"][0]
