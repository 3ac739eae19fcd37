"""Runs on disk: what is written comes back, and what a kill or a stranger left is reported and never a number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from profilers.errors import RecordError
from profilers.fingerprint import fingerprint
from profilers.load import Load
from profilers.measurement import Baseline, Measurement, Noise
from profilers.reading import Component, Conditions, CrossCheck, Partial, Reading, absent
from profilers.record import append, read, run_of, to_dict
from profilers.replay import ReplayMeter
from profilers.session import measure
from tests.profilers.simulation import Clock

GPU = Reading(
    Component("gpu-0", "gpu", "nvml", "NVIDIA Simulated", 0.1, driver="999.99"),
    "measured",
    10.0,
    1234.5,
    12.0,
    notes=("a note",),
    cross_check=CrossCheck(1234.5, 1200.0, 0.05),
    conditions=(Conditions(45.0, 1.98e9, None, 700.0), Conditions(60.0)),
)
LOST = absent(Component("package-0", "package", "rapl"), 10.0, "it vanished", partial=Partial(3.0, 2.0))
MEASUREMENT = Measurement(
    10.0,
    (GPU, LOST),
    label="a label",
    baseline=Baseline({"gpu-0": 70.0}, 10.0),
    load=Load(10.0, 0.1, 0.2, ("miner (pid 7)",), ("another process",)),
    busy_allowed=True,
    fingerprint=fingerprint(["NVIDIA Simulated"], "999.99"),
    noise={"gpu-0": Noise(3, 0.01, 0.02)},
    interrupted="SIGINT",
    notes=("noted",),
)


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "runs.jsonl"
    run = run_of(MEASUREMENT, ("python", "train.py"), 3)
    append(path, run)
    append(path, run_of(MEASUREMENT))
    recorded = read(path)
    assert recorded.problems == ()
    assert recorded.runs[0] == run
    assert len(recorded.runs) == 2


def test_a_run_is_synced_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    path = tmp_path / "runs.jsonl"
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_size))
    append(path, run_of(MEASUREMENT))
    assert synced == [path.stat().st_size]


def test_the_json_names_what_a_reader_needs() -> None:
    raw = to_dict(run_of(MEASUREMENT))
    assert raw["schema_version"] == 1
    assert (raw["energy_j"], raw["status"], raw["clean"]) == (None, "absent", False)
    assert [part["status"] for part in raw["readings"]] == ["measured", "absent"]
    assert raw["readings"][0]["net_j"] == pytest.approx(1234.5 - 700.0)
    assert len(raw["fingerprint"]["machine_id"]) == 12


@pytest.mark.parametrize("kept", [1, 10, 200, -1])
def test_a_torn_last_line_is_reported_and_the_next_run_is_whole(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "runs.jsonl"
    append(path, run_of(MEASUREMENT))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept].rstrip(b"\n")[: kept if kept > 0 else -2])
    recorded = read(path)
    assert len(recorded.runs) == 1
    assert len(recorded.problems) == 1 and "torn" in recorded.problems[0]
    append(path, run_of(MEASUREMENT))
    recorded = read(path)
    assert len(recorded.runs) == 2
    assert len(recorded.problems) == 1 and "line 2 is damaged" in recorded.problems[0]


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"duration_s": -1.0},
        {"duration_s": "10"},
        {"readings": None},
        {"label": 3},
        {"exit_code": True},
        {"noise": []},
    ],
)
def test_a_run_that_lies_is_left_out(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps({**to_dict(run_of(MEASUREMENT)), **change}) + "\n")
    recorded = read(path)
    assert recorded.runs == ()
    assert len(recorded.problems) == 1


@pytest.mark.parametrize("energy", ["NaN", "Infinity", "-Infinity", "-5.0", "0", "1e999", "null", "true", '"12"'])
def test_no_energy_that_is_none_comes_back(tmp_path: Path, energy: str) -> None:
    path = tmp_path / "runs.jsonl"
    line = json.dumps(to_dict(run_of(MEASUREMENT)))
    assert '"energy_j": 1234.5, ' in line
    path.write_text(line.replace('"energy_j": 1234.5, ', f'"energy_j": {energy}, ') + "\n")
    recorded = read(path)
    assert recorded.runs == ()
    assert len(recorded.problems) == 1


def test_a_record_that_is_not_there_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="check its path"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(RecordError, match="--record"):
        append(tmp_path, run_of(MEASUREMENT))


def test_a_kill_at_any_moment_loses_at_most_the_run_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    code = (
        "import sys; from pathlib import Path; from profilers.record import append, run_of;"
        "from tests.profilers.test_record import MEASUREMENT\n"
        "while True: append(Path(sys.argv[1]), run_of(MEASUREMENT)); print('x', flush=True)"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert writer.stdout is not None
    said = sum(1 for _ in zip(range(20), writer.stdout, strict=False))
    time.sleep(0.003)
    os.kill(writer.pid, signal.SIGKILL)
    said += len(writer.stdout.read().split())
    writer.wait()
    recorded = read(path)
    assert said <= len(recorded.runs) <= said + 1
    assert len(recorded.problems) <= 1


def test_a_recorded_run_is_replayed_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    append(path, run_of(MEASUREMENT))
    clock = Clock()
    with measure([ReplayMeter.of(path)], policy=None, clock=clock) as window:
        clock.advance(1.0)
    gpu, package = window.measurement.readings
    assert (gpu.energy_j, gpu.status, gpu.duration_s) == (1234.5, "measured", 10.0)
    assert gpu.component.meter == "replay of nvml"
    assert any("replayed" in note for note in gpu.notes)
    assert package.status == "absent"


def test_nothing_to_replay_names_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text("{}\n")
    with pytest.raises(RecordError, match="--record"):
        ReplayMeter.of(path)
