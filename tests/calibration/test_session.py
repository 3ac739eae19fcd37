"""From the command line: calibrate, what it writes, and verify. Measuring is simulated where times would decide."""

from __future__ import annotations

import time

import pytest
from click.testing import CliRunner

from calibration import collect as collecting
from calibration import verify as verifying
from calibration.__main__ import main
from calibration.errors import CalibrationError
from calibration.machine import Target, target_of
from calibration.measuring import energy_of
from calibration.session import calibrate
from calibration.stopwatch import HostClock
from estimator import profile_file
from estimator.profile_file import load
from profilers.nvml import NvmlMeter
from tests.calibration.simulated_machine import header, sample
from tests.profilers.simulation import SimulatedGpu, SimulatedNvml


@pytest.fixture
def simulated(monkeypatch):
    """Networks are measured at once, each in three seconds of a simulated clock."""
    clock = [0.0]

    def passes() -> float:
        clock[0] += 1.5
        return clock[0]

    def measured(seed, network, workload, device, meters):
        return sample(seed, network, workload, 0.0)

    monkeypatch.setattr(collecting, "measured", measured)
    monkeypatch.setattr(collecting.time, "perf_counter", passes)


def test_a_calibration_writes_a_profile_that_is_used(simulated, tmp_path):
    target = Target(header(), (), 2)
    done = calibrate(minutes=2.0, name="lab", out=tmp_path, allow_busy=True, target=target)
    assert done.path == tmp_path / "lab.profile.json"
    machine = load(done.path)
    assert machine.device_name == "Simulated 3000" and machine.networks >= 20
    assert (tmp_path / "lab.record.jsonl").exists()
    more = calibrate(minutes=3.0, name="lab", out=tmp_path, allow_busy=True, target=target)
    assert more.machine.networks > machine.networks  # continued, not begun again


def test_its_files_go_to_the_users_directory(simulated):
    done = calibrate(minutes=1.5, allow_busy=True, target=Target(header(), (), 2))
    assert done.path == profile_file.directory() / "simulated-3000.profile.json"


@pytest.mark.parametrize("hardware", ["tpu:0", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_refused(hardware):
    with pytest.raises(CalibrationError, match="--hardware cpu"):
        target_of(hardware)


def test_an_error_is_one_line_and_exit_code_2():
    done = CliRunner().invoke(main, ["calibrate", "--hardware", "cuda:99"])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1


def test_help_names_every_command():
    assert {"calibrate", "verify"} <= set(CliRunner().invoke(main, ["--help"]).output.split())


def test_joules_of_a_batch_come_from_a_window_that_the_meter_can_read():
    meter = NvmlMeter(SimulatedNvml([SimulatedGpu()], time.perf_counter), visible="0")  # 100 W, always
    taken = []

    def batch() -> None:
        begun_s = time.perf_counter()
        time.sleep(0.05)
        taken.append(time.perf_counter() - begun_s)

    joules, status = energy_of(batch, 0.05, [meter], HostClock())
    assert status == "measured" and len(taken) == 22  # 1.1 s of batches of 50 ms
    assert joules == pytest.approx(100.0 * sum(taken) / len(taken), rel=0.02)


@pytest.fixture
def at_once(monkeypatch):
    """A batch takes a millisecond, whatever it is."""

    class Clock(HostClock):
        def __init__(self) -> None:
            self.now_s = 0.0

        def mark(self) -> float:
            self.now_s += 1e-3
            return self.now_s

    monkeypatch.setattr(verifying, "stopwatch_of", lambda device: Clock())


def test_verify_shows_prediction_and_measurement(at_once, tmp_path):
    script = tmp_path / "net.py"
    script.write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n    def __init__(self): super().__init__(nn.Linear(32, 32), nn.ReLU())\n"
    )
    checks = verifying.verify(f"{script}:Net", hardware="generic-cpu", batch_size=4, inputs=("32",))
    assert [(c.phase, c.quantity) for c in checks] == [
        ("inference", "duration"),
        ("inference", "energy"),
        ("training", "duration"),
        ("training", "energy"),
    ]
    assert checks[0].measured == pytest.approx(1e-3)
    assert checks[0].error == pytest.approx(checks[0].predicted.value / 1e-3 - 1)
    assert checks[1].measured is None and checks[1].within  # nothing was measured: nothing is contradicted
    done = CliRunner().invoke(
        main, ["verify", f"{script}:Net", "--hardware", "generic-cpu", "--batch-size", "4", "--input", "32"]
    )
    assert "not measured" in done.output
    inside = all(c.within for c in checks)
    assert done.exit_code == (0 if inside else 1)
    assert ("drifted" in done.output) == (not inside)
