"""What goes to which stream: the answer alone to standard output, in every state that standard output can be in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from estimator.commands import main

CODE = """\
import os
import subprocess
import sys
import warnings

import torch
from torch import nn

print("on import")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        _write("forward")
        return self.layer(x)


def _write(where):
    print(where, "print")
    if sys.__stdout__ is not None:
        sys.__stdout__.write(where + " kept stream")
    os.write(1, (where + " descriptor").encode())
    subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    warnings.warn("two\\nlines")


def make():
    _write("factory")
    return Net()


def quiet():
    warnings.warn("two\\nlines")
    return torch.compile(nn.Linear(4, 2))
"""
PROGRAM = [sys.executable, "-m", "estimator.commands"]
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    path = tmp_path_factory.mktemp("code") / "net.py"
    path.write_text(CODE)
    return f"{path}:make"


def _run(*args, **streams):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([*PROGRAM, *args], text=True, timeout=120, check=False, **streams)


def test_what_a_model_prints_goes_to_standard_error(code):
    done = _run(code, "--hardware", "i9-9900k", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["model"]["name"] == "make"
    for said in ("on import", "factory print", "forward print", "child", "factory descriptor", "forward kept stream"):
        assert said in done.stderr
    assert "Warning" not in done.stderr


def test_within_python_too(code):
    done = CliRunner().invoke(main, [code, "--hardware", "i9-9900k", "--json"])
    assert json.loads(done.stdout)["model"]["name"] == "make"
    assert "factory print" in done.stderr


def test_nothing_is_said_beside_the_answer(code):
    done = _run(code.replace(":make", ":quiet"), "--hardware", "AUTO")
    assert (done.returncode, done.stderr) == (0, "on import\n")


def test_auto_is_auto_in_any_case(code):
    answers = [
        CliRunner().invoke(main, [code.replace(":make", ":quiet"), "--hardware", name, "--json"]).stdout
        for name in ("auto", "AUTO", " Auto ")
    ]
    assert answers[0] and answers.count(answers[0]) == 3


@pytest.mark.skipif(
    not FULL.exists(),
    reason="this system has no /dev/full: run `pytest tests/estimator/commands/test_cli_streams.py` on Linux",
)
@pytest.mark.parametrize("args", [["hardware"], ["--help"], ["regions", "germany"], ["{code}"], ["{code}", "--json"]])
def test_a_full_disk_is_one_line(code, args):
    with FULL.open("w") as full:
        done = _run(*(arg.format(code=code.replace(":make", ":quiet")) for arg in args), stdout=full)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line != "on import"]
    assert len(said) == 1 and "No space left on device" in said[0] and said[0].startswith("estimate: ")


def _shell(line, *args):
    command = ["sh", "-c", line, "sh", *PROGRAM, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(code, closed):
    done = _shell(f'"$@" {closed}', code, "--hardware", "i9-9900k", "--json")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    if closed == "2>&-":
        assert json.loads(done.stdout)["model"]["name"] == "make"


def test_a_pipe_that_closes_early(code):
    done = _shell('"$@" | head -n 1', code, "--hardware", "i9-9900k")
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    done = _shell('"$@" | :', "hardware")
    assert done.stderr == ""


def test_a_terminal_without_the_letters(code, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = _run(code, "--hardware", "i9-9900k")
    assert done.returncode == 0 and "?J" in done.stdout
