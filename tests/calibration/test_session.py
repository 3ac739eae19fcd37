"""From the command line: calibrate, what it writes, and verify. Measuring is simulated where times would decide."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from calibration import session
from calibration.__main__ import main
from calibration.errors import CalibrationError
from calibration.measuring import collect as collecting
from calibration.measuring import machine
from calibration.measuring.machine import Target, target_of
from calibration.measuring.running import energy_of
from calibration.measuring.samples import read
from calibration.measuring.stopwatch import HostClock
from calibration.proof import verify as verifying
from calibration.proof.verify import Check, Verified
from calibration.report import verified_lines
from calibration.session import calibrate
from estimator.energy.uncertainty import Interval
from estimator.hardware import profile_file
from estimator.hardware.catalogue import find
from estimator.hardware.datasheet import profile_of
from estimator.hardware.profile import CalibratedHere, HardwareProfile
from estimator.hardware.profile_file import load
from estimator.lifecycle.scenario import Scenario
from profilers import discovery
from profilers.errors import BusyError
from profilers.gpu.nvml import NvmlMeter
from profilers.load import LoadPolicy
from profilers.reading import Component
from tests.calibration.learning.simulated_machine import few_trees, header, sample
from tests.profilers.simulation import SimulatedGpu, SimulatedNvml
from tests.profilers.steady import ScriptedWatch, SteadyMeter


@pytest.fixture
def simulated(monkeypatch):
    """Networks are measured at once, each in seconds of a simulated clock, and few trees learn from them."""
    clock = [0.0]

    def passes() -> float:
        clock[0] += 1.5
        return clock[0]

    def measured(seed, network, workload, device, meters):
        return sample(seed, network, workload, 0.0)

    monkeypatch.setattr(collecting, "measured", measured)
    monkeypatch.setattr(collecting.time, "perf_counter", passes)
    with few_trees():
        yield


def test_a_calibration_writes_a_profile_that_is_used(simulated, tmp_path):
    target = Target(header(), (), 2)
    done = calibrate(minutes=2.0, name="lab", out=tmp_path, policy=LoadPolicy(allow_busy=True), target=target)
    assert done.path == tmp_path / "lab.profile.json"
    learned = load(done.path)
    assert learned.device_name == "Simulated 3000" and learned.networks >= 20
    assert (tmp_path / "lab.record.jsonl").exists()
    more = calibrate(minutes=3.0, name="lab", out=tmp_path, policy=LoadPolicy(allow_busy=True), target=target)
    assert more.machine.networks > learned.networks  # continued, not begun again


def test_an_earlier_record_is_kept_or_begun_anew(simulated, tmp_path, capsys, monkeypatch):
    def without_fit(*args):
        raise CalibrationError("learning takes too long for this test")

    monkeypatch.setattr(session, "fit", without_fit)

    def seconds(minutes: float, *, fresh: bool = False) -> list[float]:
        target, busy = Target(header(), (), 2), LoadPolicy(allow_busy=True)
        with pytest.raises(CalibrationError, match="learning"):
            calibrate(minutes=minutes, name="lab", out=tmp_path, policy=busy, target=target, fresh=fresh)
        return [sample.at_s for sample in read(tmp_path / "lab.record.jsonl").samples]

    first = seconds(0.5)
    assert "--fresh" not in capsys.readouterr().err
    assert seconds(0.5) == first  # all of it had been measured, and that is said
    assert "--fresh" in capsys.readouterr().err
    more = seconds(1.0)
    assert more[: len(first)] == first and more[-1] >= 60 > more[-2]
    anew = seconds(0.5, fresh=True)
    assert len(anew) == len(first)


def test_an_interrupt_says_what_is_kept(simulated, tmp_path, monkeypatch, capsys):
    works, count = collecting.measured, iter(range(3))

    def measured(*args):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return works(*args)

    monkeypatch.setattr(collecting, "measured", measured)
    with pytest.raises(KeyboardInterrupt):
        calibrate(name="lab", out=tmp_path, policy=LoadPolicy(allow_busy=True), target=Target(header(), (), 2))
    assert len(read(tmp_path / "lab.record.jsonl").samples) == 3
    assert "lab.record.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../up", "a/b", "auto", "x" * 200, "a b"])
def test_a_name_that_hardware_could_not_find_is_refused(name, tmp_path):
    with pytest.raises(CalibrationError, match="cannot be a profile's name"):
        calibrate(name=name, out=tmp_path, target=Target(header(), (), 2))


def test_a_folder_that_cannot_be_written_is_found_before_the_measuring(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CalibrationError, match="--out"):
        calibrate(out=tmp_path / "file" / "deeper", target=Target(header(), (), 2))


def test_a_gpu_is_metered_by_its_uuid_however_cuda_counts(monkeypatch):
    gpus = [SimulatedGpu(uuid="GPU-aaaa"), SimulatedGpu(uuid="GPU-bbbb")]
    nvml = SimulatedNvml(gpus, time.perf_counter)
    properties = SimpleNamespace(uuid="bbbb")  # CUDA's first is NVML's second: the fastest comes first
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(
        machine, "find_meters", lambda names, visible: discovery.find_meters(names, nvml=nvml, visible=visible)
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (meter,) = machine._meters(torch.device("cuda:0"))
    assert [part.name for part in meter.components()] == ["gpu-1"]
    properties.uuid = ""  # a torch that does not tell: by the place
    (meter,) = machine._meters(torch.device("cuda:0"))
    assert [part.name for part in meter.components()] == ["gpu-0"]


class _Core(SteadyMeter):
    """Joules that are part of the package's."""

    def components(self):
        return (Component("core-0", "package", self.name, refresh_s=0.001, in_total=False),)


def test_idle_power_counts_no_joule_twice_and_asks_the_users_policy(monkeypatch):
    monkeypatch.setattr(machine, "IDLE_S", 0.05)
    busy = ScriptedWatch(*[9.0] * 99)
    meters = [SteadyMeter(time.perf_counter), _Core(time.perf_counter, [30.0])]
    allowed = LoadPolicy(look_s=0.0, allow_busy=True, watch=busy)
    assert machine.idle_power_w(meters, allowed) == pytest.approx(100.0)
    with pytest.raises(BusyError):
        machine.idle_power_w(meters, LoadPolicy(wait_s=0.0, look_s=0.0, watch=busy))


def test_its_files_go_to_the_users_directory(simulated):
    done = calibrate(minutes=1.5, policy=LoadPolicy(allow_busy=True), target=Target(header(), (), 2))
    assert done.path == profile_file.directory() / "simulated-3000.profile.json"


@pytest.mark.parametrize("hardware", ["tpu:0", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_refused(hardware):
    with pytest.raises(CalibrationError, match="--hardware cpu"):
        target_of(hardware)


def test_an_error_is_one_line_and_exit_code_2():
    done = CliRunner().invoke(main, ["calibrate", "--hardware", "cuda:99"])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1


@pytest.mark.parametrize("given", [["--minutes", "nan"], ["--minutes=-1"], ["--minutes=0"], ["--wait", "inf"]])
def test_what_is_no_time_is_refused(given):
    done = CliRunner().invoke(main, ["calibrate", *given])
    assert done.exit_code == 2 and given[0].split("=")[0] in done.stderr


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
    scenario = Scenario(hardware="generic-cpu", batch_size=4, inputs=("32",))
    verified = verifying.verify(f"{script}:Net", scenario, policy=LoadPolicy(allow_busy=True))
    checks = verified.checks
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
        main,
        ["verify", f"{script}:Net", "--hardware", "generic-cpu", "--batch-size=4", "--input=32", "--allow-busy"],
    )
    assert "not measured" in done.output
    inside = all(c.within for c in checks)
    assert done.exit_code == (0 if inside else 1)
    assert ("was not calibrated" in done.output) == (not inside)
    assert set(json.loads(_verified_as_json(script))["checks"][0]) >= {"measured", "error", "within"}


def test_verify_refuses_arguments_that_the_code_does_not_take(at_once, tmp_path):
    script = tmp_path / "net.py"
    script.write_text("from torch import nn\ndef net(width): return nn.Linear(8, width)\n")
    command = ["verify", f"{script}:net", "--hardware=generic-cpu", "--allow-busy"]
    done = CliRunner().invoke(main, [*command, "--arg", "widht=3"])
    assert done.exit_code == 2 and "takes no argument widht" in done.output


def _verified_as_json(script) -> str:
    arguments = ["--hardware", "generic-cpu", "--batch-size=4", "--input=32", "--allow-busy", "--json"]
    return CliRunner().invoke(main, ["verify", f"{script}:Net", *arguments]).stdout


def _profile(title: str | None = None, torch_version: str = torch.__version__) -> HardwareProfile:
    here, on = target_of("cpu").header.device_name, CalibratedHere("cpu", torch_version, ())
    return replace(profile_of(find("generic-cpu")), status="calibrated", title=title or here, calibrated=on)


def test_a_profile_is_verified_on_its_own_machine():
    assert verifying._target(_profile())[1] == ()
    with pytest.raises(CalibrationError, match="was calibrated on Another 9000"):
        verifying._target(_profile(title="Another 9000"))
    (note,) = verifying._target(_profile(torch_version="1.0"))[1]
    assert "torch 1.0" in note and torch.__version__ in note


@pytest.mark.skipif(
    torch.cuda.is_available(),
    reason="there is a GPU: run `CUDA_VISIBLE_DEVICES= pytest tests/calibration/test_session.py`",
)
@pytest.mark.parametrize("hardware", ["a100", "h100-sxm"])
def test_a_gpu_is_not_verified_on_a_cpu(hardware):
    done = CliRunner().invoke(main, ["verify", "mlp:8x2x8", "--hardware", hardware])
    assert done.exit_code == 2 and "PyTorch sees none here" in done.stderr


def test_drift_is_said_with_the_remedy():
    def check(measured: float) -> Check:
        return Check("inference", "duration", "s", Interval(1.0, 0.8, 1.25), measured, "measured", 0.0, "lab")

    inside, outside = Verified((check(1.25),), True), Verified((check(1.26),), True)
    assert inside.within and not outside.within
    assert "drifted" not in "\n".join(verified_lines(inside))
    assert "estimate calibrate --fresh" in "\n".join(verified_lines(outside))
    assert "was not calibrated" in "\n".join(verified_lines(replace(outside, calibrated=False)))
    assert all(len(line) <= 80 for line in verified_lines(outside))
