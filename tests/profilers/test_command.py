"""`measure -- COMMAND` in subprocesses: exit codes, signals, and nothing left running. No sensor is simulated here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
OPTIONS = ("--allow-busy", "--meter", "codecarbon")


def measure(
    *arguments: str, module: str = "tests.profilers.measured_command", **options: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *_leading(module), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def start(*arguments: str, module: str = "tests.profilers.measured_command") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *_leading(module), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _leading(module: str) -> tuple[str, ...]:
    """The real command needs seconds for codecarbon; `measured_command` is the same on a steady meter."""
    return () if module == "tests.profilers.measured_command" else ("measure", *OPTIONS)


def gone(pid: int) -> bool:
    for _ in range(40):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("module", ["profilers", "estimator.commands"])
def test_without_a_sensor_it_exits_cleanly_saying_modelled(module: str, tmp_path: Path) -> None:
    record = tmp_path / "runs.jsonl"
    done = measure("--record", str(record), "--label", "mine", "--", sys.executable, "-c", "print('hi')", module=module)
    assert (done.returncode, done.stdout) == (0, "hi\n")
    assert "modelled" in done.stderr and "MODELLED, not measured" in done.stderr
    assert "no sensor" in done.stderr
    (line,) = record.read_text().splitlines()
    run = json.loads(line)
    assert (run["energy_j"], run["status"], run["label"], run["exit_code"]) == (None, "absent", "mine", 0)
    assert {part["status"] for part in run["readings"]} <= {"modelled", "absent"}
    assert run["modelled_energy_j"] > 0
    assert not list(tmp_path.glob("emissions*"))


def test_a_failing_command_s_exit_code_is_passed_on_with_what_was_read() -> None:
    done = measure(
        "--json", "--", sys.executable, "-c", "import time, sys; time.sleep(0.2); sys.exit(7)", module="profilers"
    )
    assert done.returncode == 7
    run = json.loads(done.stdout)
    assert (run["exit_code"], run["interrupted"]) == (7, None)
    assert run["duration_s"] > 0.2
    assert "duration" in done.stderr


def test_a_command_that_is_killed_ends_as_in_a_shell() -> None:
    done = measure(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert done.returncode == 137
    assert "duration" in done.stderr


def test_options_of_the_command_are_its_own() -> None:
    script = "import sys; print(sys.argv[1:])"
    done = measure(sys.executable, "-c", script, "--json", "--label", module="profilers")
    assert done.stdout == "['--json', '--label']\n"


def test_a_command_that_is_not_there_is_one_line() -> None:
    done = measure("--", "no-such-command-anywhere", module="profilers")
    assert done.returncode == 2
    assert "no-such-command-anywhere" in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_meter_is_one_line() -> None:
    done = measure("--meter", "wattmeter", "--", "true", module="profilers")
    assert done.returncode == 2
    assert "choose from nvml, rapl, codecarbon" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_command_and_the_reading_is_printed(number: int, code: int, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    script = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    process = start("--json", "--", sys.executable, "-c", script, str(begun), module="profilers")
    pid = _pid_in(begun)
    os.kill(process.pid, number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"interrupted ({signal.Signals(number).name})" in stderr
    assert json.loads(stdout)["interrupted"] == signal.Signals(number).name
    assert gone(pid)


def test_a_command_that_ignores_the_first_signal_ends_by_the_third(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    script = (
        "import os, signal, sys, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)];"
        "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    )
    process = start(sys.executable, "-c", script, str(begun))
    pid = _pid_in(begun)
    for _ in range(3):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.2)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 137
    assert "duration" in stderr
    assert gone(pid)


@pytest.mark.parametrize("detached", [False, True])
def test_no_child_is_left_running(tmp_path: Path, detached: bool) -> None:
    begun = tmp_path / "begun"
    grandchild = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    script = (
        "import subprocess, sys, time, os\n"
        f"subprocess.Popen([sys.executable, '-c', {grandchild!r}, sys.argv[1]], start_new_session={detached},"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.01)"
    )
    done = measure(sys.executable, "-c", script, str(begun))
    assert done.returncode == 0
    assert gone(_pid_in(begun))
    assert "left running were ended" in done.stderr


def test_the_command_s_own_streams_are_untouched() -> None:
    done = measure(sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read())", input="as it is")
    assert done.stdout == "as it is"


@pytest.mark.parametrize("module", ["profilers", "estimator.commands"])
def test_meters_say_what_is_missing_and_what_would_help(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "meters"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert "nvml" in done.stdout and "absent" in done.stdout and "remedy" in done.stdout


def _pid_in(path: Path) -> int:
    for _ in range(3000):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    pytest.fail("the command did not begin")
