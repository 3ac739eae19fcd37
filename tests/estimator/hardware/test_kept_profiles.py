"""`estimate hardware` and calibrated profiles: what is kept is listed, a profile tells all it knows, damage is said."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from click.testing import CliRunner

from estimator.commands import main
from estimator.energy.op_times import OpTimes, Overhead
from estimator.hardware import machine as present_machine
from estimator.hardware import profile_file
from estimator.hardware.calibrated_machine import CalibratedMachine, HeldOutError, Power
from estimator.hardware.profile_file import SUFFIX, save

TIMES = OpTimes(
    bandwidth_bytes_per_s=4e10,
    launch_s=2e-6,
    groups={},
    overheads={
        "inference": Overhead(0.99, -3.76e-6, 1.5e-6, 1.22e-5),
        "backward": Overhead(1.25, 5e-7, 5e-16, 0.0),
        "optimizer": Overhead(0.95, 5.6e-6, 0.0, 4.6e-5, kernel_s=-1.9e-6, freed_s_per_byte=6.4e-11),
    },
    unseen_spread=0.5,
    fresh_s_per_byte=2e-10,
)
CPU = CalibratedMachine(
    name="mine",
    device="cpu",
    device_name="Simulated(R) 3000 [red]16-Core[/red] Processor",
    catalogue_name="generic-cpu",
    logical_cpus=os.cpu_count() or 1,
    threads=2,
    created="2026-11-21T15:47:24+00:00",
    machine_id="0123456789ab",
    software={"joulecast": "0.1.0", "torch": "2.13.0"},
    meter="none",
    seconds=300.2,
    networks=413,
    dtypes=("float32", "bfloat16"),
    errors={"inference": HeldOutError(69, 0.0981, 0.183, 0.3), "training": HeldOutError(70, 0.115, 0.145, 0.2)},
    learning_curve=((0.9, 0.176), (5.0, 0.128)),
    power=None,
    op_times=TIMES,
)
GPU = replace(
    CPU,
    name="big",
    device="cuda:0",
    device_name="NVIDIA H100 80GB HBM3",
    catalogue_name="nvidia-h100-sxm",
    meter="nvml",
    created="2026-10-01T08:00:00+00:00",
    errors={"inference": HeldOutError(69, 0.07, 0.09, 0.1), "training": HeldOutError(0, 1, 1, 1)},
    power=Power("measured", {"static": 1.2, "byte": 0.875}, {"conv": 12.0}, HeldOutError(120, 0.04, 0.055, 0.06)),
)


@pytest.fixture(autouse=True)
def _on_the_simulated_machine(monkeypatch):
    monkeypatch.setattr(present_machine, "present", lambda: (present_machine.Seen("cpu", CPU.device_name),))


def _kept(machine: CalibratedMachine, name: str | None = None, modified_s: int = 1_700_000_000):
    path = profile_file.directory() / f"{name or machine.name}{SUFFIX}"
    save(machine, path)
    os.utime(path, (modified_s, modified_s))
    return path


def _shown(*args: str, width: int = 80) -> str:
    done = CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["hardware", *args])
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def _words(text: str) -> str:
    return " ".join(text.split())


def _listed(width: int = 80) -> str:
    return _shown(width=width).partition("Calibrated profiles")[2]


def test_without_a_profile_the_list_says_how_to_make_one():
    assert "No calibrated profile: `estimate calibrate` makes one" in _words(_shown())


def test_kept_profiles_are_listed_below_the_catalogue_newest_first():
    _kept(GPU, modified_s=1_600_000_000)
    _kept(CPU)
    catalogue, title, listed = _shown().partition("Calibrated profiles")
    assert title and "nvidia-t4" in catalogue and "mine" not in catalogue
    assert listed.index("mine (calibrated, this machine)") < listed.index("big (calibrated)")
    # hand arithmetic: 0.0981 is 9.8%, 0.115 is 11.5%; 0 networks judge nothing
    for words in (
        "Simulated(R) 3000 [red]16-Core[/red] Processor, 2026-11-21, 413 networks, no meter",
        "inference 9.8%, training 11.5%",
        "NVIDIA H100 80GB HBM3, 2026-10-01, 413 networks, joules measured by nvml",
        "inference 7.0%, training -",
    ):
        assert words in _words(listed)


def test_this_machine_has_the_device_and_as_many_cpus():
    _kept(replace(CPU, logical_cpus=(os.cpu_count() or 1) + 1))
    assert "mine (calibrated)" in _listed()


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_the_list_fits(width):
    _kept(CPU)
    _kept(GPU, "n" * 100)
    (profile_file.directory() / f"torn{SUFFIX}").write_text("{")
    listed = _listed(width)
    assert max(map(len, listed.splitlines())) <= width and "…" not in listed
    assert "n" * 100 in "".join(listed.split())


def test_damaged_profiles_are_a_line_with_the_remedy_and_the_others_are_listed():
    torn = _kept(CPU, "torn")
    torn.write_text(torn.read_text()[:200])
    (profile_file.directory() / f"link{SUFFIX}").symlink_to("nowhere")
    (profile_file.directory() / f"folder{SUFFIX}").mkdir()
    _kept(GPU)
    lines = _listed(width=1000).splitlines()
    (about_torn,) = (line for line in lines if "torn" in line)
    assert about_torn.startswith(f"! {torn} is not a profile") and "estimate calibrate" in about_torn
    assert sum("cannot be read" in line and line.startswith("! ") for line in lines) == 2
    assert "big (calibrated)" in lines


def test_a_name_that_the_command_line_would_not_take_is_listed_by_its_path():
    path = _kept(CPU, "my machine")
    assert f"{path} (calibrated, this machine)" in _listed(width=1000)
    assert "Simulated" in _shown(str(path))


def test_a_profile_tells_its_facts_by_name_and_by_path(tmp_path):
    path = _kept(CPU)
    shown = _shown("mine")
    assert _shown(str(path)) == shown
    said = _words(shown)
    for words in (
        "Simulated(R) 3000 [red]16-Core[/red] Processor (mine), status calibrated",
        f"device cpu, logical CPUs {os.cpu_count()}, PyTorch's threads 2",
        "this machine yes",
        "builds on generic-cpu of the catalogue",
        "calibrated 2026-11-21T15:47:24+00:00",
        "software joulecast 0.1.0, torch 2.13.0",
        "meter no meter: power is that of the spec sheet",
        "samples 413 networks in 5.0 min",  # 300.2 s
        "dtypes float32, bfloat16",
        "learning curve median error 17.6% after 0.9, 12.8% after 5.0 min",
        "time of inference 69 9.8% 18.3%",
        "time of training 70 11.5% 14.5%",
        "new memory 0.20 ns a byte at first touch, 0.06 where it is given back",
        "phase x ops' time per op per kernel per module call per phase",
        "inference 0.99 -3.8 µs 0.0 µs 1.5 µs 12.2 µs",
        "backward 1.25 0.5 µs 0.0 µs 0.0 µs 0.0 µs",
        "optimizer 0.95 5.6 µs -1.9 µs 0.0 µs 46.0 µs",
        "forward 1.00 0.0 µs 0.0 µs 0.0 µs 0.0 µs",  # nothing learned: ops alone
    ):
        assert words in said, words
    assert f"file: {path}" in shown.splitlines()  # whole
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("file: "))
    assert "beside other work" not in said and "power factors" not in said and "of the catalogue's" not in said
    elsewhere = tmp_path / f"carried{SUFFIX}"
    save(CPU, elsewhere)
    assert "(carried), status calibrated" in _shown(str(elsewhere))


def test_a_metered_gpu_tells_its_power_and_its_hosts_time():
    _kept(replace(GPU, disturbed=12))
    assert "413 networks (12 beside other work), joules measured by nvml" in _words(_listed())
    said = _words(_shown("big"))
    for words in (
        "this machine no",
        "meter joules measured by nvml",
        "power factors static 1.20, byte 0.88 times what it builds on",  # 0.875 rounds to even
        "energy, times given 120 4.0% 5.5%",
        "time of training 0 - -",
        "The host's time; the slower of GPU and host decides",
        "beside other work 12 of the networks: trust this profile little",
    ):
        assert words in said, words


def test_a_calibrated_profile_goes_before_a_device_of_its_name_as_in_hardware():
    _kept(CPU, "a100")
    said = _words(_shown("a100"))
    assert "Simulated" in said and "status calibrated" in said
    assert "--hardware a100 is this profile, not the catalogue's NVIDIA A100 SXM4 80GB (nvidia-a100-sxm4-80gb)" in said
    assert "NVIDIA A100 SXM4 80GB (nvidia-a100-sxm4-80gb)" in _shown("a100-sxm4-80gb")


def test_an_unknown_name_is_told_the_nearest_and_the_profiles():
    _kept(CPU)
    done = CliRunner().invoke(main, ["hardware", "rtx-2081-ti"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nvidia-rtx-2080-ti" in done.stderr and "Calibrated: mine." in done.stderr
    missing = CliRunner().invoke(main, ["hardware", f"none{SUFFIX}"])
    assert missing.exit_code == 2 and "cannot be read" in missing.stderr
