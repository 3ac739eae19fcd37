"""Run a command under the meters: signals reach it, its exit code is passed on, and nothing of it is left running."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from profilers.errors import MeterError
from profilers.load import LoadPolicy
from profilers.measurement import Baseline, Measurement
from profilers.meter import Meter
from profilers.session import QUIET, measure

GRACE_S = 2.0
"""What a left-over process has between SIGTERM and SIGKILL."""

_PR_SET_CHILD_SUBREAPER = 36
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


@dataclass(frozen=True)
class Outcome:
    """How the command ended and what was read meanwhile. Ended by signal n, its exit code is 128 + n, as in a shell."""

    exit_code: int
    measurement: Measurement
    left_over: int = 0
    """Processes that the command left behind, and that were ended."""


def run_command(
    command: Sequence[str],
    meters: Sequence[Meter],
    *,
    label: str = "",
    baseline: Baseline | None = None,
    policy: LoadPolicy | None = QUIET,
) -> Outcome:
    """Run `command` with our own stdin, stdout and stderr, and measure from its start to its end."""
    if not command:
        raise MeterError("there is no command to measure: put it after --, as in `estimate measure -- python train.py`")
    if shutil.which(command[0]) is None:
        raise MeterError(f"there is no command {command[0]!r}: check its spelling, or give its path")
    relay, earlier = _Relay(), _children()
    with _adopting_orphans():
        try:
            with measure(meters, label=label, baseline=baseline, policy=policy) as window, relay.listening():
                code = relay.run(command)
        finally:
            left_over = _end_left_overs(relay.group, earlier)
    measurement = replace(window.measurement, interrupted=relay.heard)
    return Outcome(code if code >= 0 else 128 - code, measurement, left_over)


class _Relay:
    """The command's process, and the signals on their way to it.

    At a terminal the command stays in our process group, so that Ctrl-C and Ctrl-Z reach it as they would without us.
    Elsewhere it gets a group of its own, and signals sent to us are sent on: the first as it came, the second as
    SIGTERM, any later one as SIGKILL.
    """

    def __init__(self) -> None:
        self._shared_group = _at_terminal()
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._early: list[int] = []
        self.heard: str | None = None

    @property
    def group(self) -> int | None:
        """The command's own process group, if it has one."""
        return None if self._process is None or self._shared_group else self._process.pid

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Signals go to the command, not to us. Only the main thread can listen; elsewhere nothing changes."""
        previous: dict[int, Any] = {}
        try:
            for name in _FORWARDED:
                number = getattr(signal, name, None)
                if number is not None:
                    with contextlib.suppress(ValueError):
                        previous[number] = signal.signal(number, self._hear)
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def run(self, command: Sequence[str]) -> int:
        """Start the command and wait for its end; its return code, negative for a signal."""
        try:
            self._process = subprocess.Popen(list(command), **({} if self._shared_group else _own_group()))
        except OSError as error:
            raise MeterError(f"{command[0]!r} cannot be run ({error.strerror}): check that it is executable") from error
        for number in self._early:
            self._send(number)
        return self._process.wait()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.heard = signal.Signals(number).name
        if self._process is None:
            self._early.append(number)
        else:
            self._send(number)

    def _send(self, number: int) -> None:
        assert self._process is not None
        self._count += 1
        if self._shared_group and number in {signal.SIGINT, getattr(signal, "SIGQUIT", None)}:
            return  # the terminal sent it to the command as well
        if self._count > 1:
            number = signal.SIGTERM if self._count == 2 else getattr(signal, "SIGKILL", signal.SIGTERM)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.group is not None and hasattr(os, "killpg"):
                os.killpg(self.group, number)
            else:
                self._process.send_signal(number)


def _own_group() -> dict[str, Any]:
    """Arguments of Popen that give the command a process group: safe while threads run, unlike preexec_fn."""
    if os.name != "posix":
        return {}
    return {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}


def _at_terminal() -> bool:
    """Whether we are the foreground job of the terminal on stdin."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except (OSError, AttributeError):
        return False


@contextlib.contextmanager
def _adopting_orphans() -> Iterator[None]:
    """On Linux, processes whose parent ends become our children (prctl(2), PR_SET_CHILD_SUBREAPER): none is lost."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    if prctl is None:
        yield
        return
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _children() -> frozenset[Any]:
    import psutil

    return frozenset(psutil.Process().children(recursive=True))


def _end_left_overs(group: int | None, earlier: frozenset[Any]) -> int:
    """End what the command left running, gently and then not; how many processes that were. `earlier` are spared."""
    import psutil

    left = []
    for child in _children() - earlier:
        with contextlib.suppress(psutil.Error):
            if child.status() != psutil.STATUS_ZOMBIE:
                left.append(child)
                child.terminate()
    if group is not None and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGTERM)
    _, alive = psutil.wait_procs(left, timeout=GRACE_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=GRACE_S)
    return len(left)
