"""Escape sequences in the names of others do not reach the terminal: each command's lines, read behind a pty."""

from __future__ import annotations

import contextlib
import os
import pty
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from calibration import __main__ as calibration
from calibration import session
from calibration.errors import CalibrationError
from calibration.proof import verify
from calibration.proof.verify import Check, Verified
from estimator.energy.uncertainty import Interval
from profilers import __main__ as profilers
from profilers import discovery, report
from profilers.errors import MeterError
from profilers.printing import say

EVIL = "rtx\x1b[2J\x1b]0;owned\x07\u202e\x9b1m"


def shown_on_a_terminal(*arguments: str, main) -> str:
    """What `main` prints on stdout and stderr, a terminal."""
    master, slave = pty.openpty()
    with (
        open(slave, "w", encoding="utf-8") as terminal,  # noqa: PTH123 - a descriptor
        contextlib.redirect_stdout(terminal),
        contextlib.redirect_stderr(terminal),
        contextlib.suppress(SystemExit),
    ):
        main(list(arguments), prog_name="estimate")
    text = os.read(master, 65536).decode()
    os.close(master)
    return text


def check_plain(text: str) -> None:
    assert "rtx" in text
    assert all(c.isprintable() or c in "\r\n" for c in text), repr(text)


def raises(error: Exception):
    def raised(*args, **kwargs):
        raise error

    return raised


def test_verify(monkeypatch):
    energy = Interval(1.0, 0.5, 2.0)
    check = Check("inference", "energy", "J", energy, 1.1, "measured", None, EVIL)
    monkeypatch.setattr(verify, "verify", lambda *args, **kwargs: Verified((check,), True, (EVIL,)))
    check_plain(shown_on_a_terminal("verify", "a.pt", main=calibration.main))


@pytest.mark.parametrize("command", ["calibrate", "verify"])
def test_errors_of_a_calibration(monkeypatch, command):
    monkeypatch.setattr(session, "calibrate", raises(CalibrationError(EVIL)))
    monkeypatch.setattr(verify, "verify", raises(CalibrationError(EVIL)))
    check_plain(shown_on_a_terminal(command, *["a.pt"][: command == "verify"], main=calibration.main))


def test_calibrate_while_it_runs(capsys):
    session._say(f"{EVIL}: measured")
    check_plain(capsys.readouterr().err)


def test_meters(monkeypatch):
    monkeypatch.setattr(discovery, "find_meters", lambda *args: SimpleNamespace())
    monkeypatch.setattr(report, "meters_lines", lambda found: [EVIL])
    check_plain(shown_on_a_terminal("meters", main=profilers.main))


def test_errors_of_a_meter(monkeypatch):
    monkeypatch.setattr(discovery, "find_meters", raises(MeterError(EVIL)))
    check_plain(shown_on_a_terminal("measure", "true", main=profilers.main))


def test_lines_stay_lines(capsys):
    say("a\n  b\tc")
    assert capsys.readouterr().out == "a\n  b c\n"
    assert CliRunner().invoke(profilers.main, ["--help"]).exit_code == 0
