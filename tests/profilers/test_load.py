"""Who else uses the machine: psutil on this machine, and GPUs whose processes are written down."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from profilers.errors import BusyError
from profilers.load import Load, LoadPolicy, SystemWatch
from profilers.meter import Activity
from tests.profilers.simulation import Clock
from tests.profilers.steady import ScriptedWatch, SteadyMeter

_SPIN = "import time\nends = time.time() + 20\nwhile time.time() < ends: pass"


@pytest.fixture
def stranger() -> Iterator[int]:
    """A busy process that is not our child: started by a parent that ended."""
    code = (
        "import subprocess, sys\n"
        "quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}\n"
        f"print(subprocess.Popen([sys.executable, '-c', {_SPIN!r}], **quiet).pid)"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pid = int(started.stdout)
    yield pid
    os.kill(pid, 9)


def spin(seconds: float) -> None:
    ends_s = time.process_time() + seconds
    while time.process_time() < ends_s:
        pass


def test_a_stranger_s_load_is_seen_and_named(stranger: int) -> None:
    watch = SystemWatch((), 0.2, working=False)
    time.sleep(0.8)
    seen = watch.load()
    assert seen.other_cores is not None and seen.other_cores > 0.3
    assert any(f"pid {stranger}" in process for process in seen.processes) or len(seen.processes) == 3
    assert seen.busy


def test_our_own_work_and_our_children_s_are_not_other_load() -> None:
    def grew_by() -> float:
        before = SystemWatch((), 100.0, working=False)
        time.sleep(0.5)
        others = before.load().other_cores or 0.0
        watch = SystemWatch((), 100.0, working=True)
        child = subprocess.Popen([sys.executable, "-c", "import time\nwhile time.process_time() < 0.6: pass"])
        spin(0.6)
        child.wait()
        seen = watch.load()
        assert seen.other_cores is not None
        return seen.other_cores - others

    # others may begin in between, so that one of several looks has to hold: two cores were kept busy by us in each
    assert any(grew_by() < 0.7 for _ in range(6))


def with_activity(pids: set[int], utilization: float | None = None) -> SteadyMeter:
    meter = SteadyMeter(Clock())
    meter.active = Activity(frozenset(pids), utilization)
    return meter


def gpu_load(pids: set[int], utilization: float | None = None, *, working: bool = False) -> tuple[str, ...]:
    return SystemWatch([with_activity(pids, utilization)], 1e6, working).load().gpu


def test_another_process_on_the_gpu_is_seen() -> None:
    assert "pid 1" in gpu_load({1})[0]
    assert gpu_load({1}, working=True)


def test_our_own_process_on_the_gpu_is_not_another() -> None:
    assert gpu_load({os.getpid()}) == ()
    assert gpu_load({os.getpid()}, 0.9) == ()  # what is left of our own last call


def test_ids_of_another_namespace_count_only_if_the_gpu_works_while_we_do_not() -> None:
    unknown = 2**22 + 1
    assert gpu_load({unknown}, 0.0) == ()
    assert "not visible" in gpu_load({unknown}, 0.9)[0]
    assert gpu_load({unknown}, 0.9, working=True) == ()


def test_the_limit_decides() -> None:
    assert Load(1.0, 0.1, 0.2).busy == ()
    assert "0.30 cores" in Load(1.0, 0.3, 0.2, ("miner",)).busy[0]
    assert Load(1.0, None, 0.2).busy == ()


def test_that_it_waits_and_for_what_is_said_once() -> None:
    clock, said = Clock(), list[str]()
    policy = LoadPolicy(wait_s=9.0, look_s=1.0, watch=ScriptedWatch(2.0, 2.0, 2.0), say=said.append)
    policy.wait_until_quiet((), clock, clock.advance)
    (line,) = said
    assert "9 s" in line and "miner (pid 7)" in line


def test_waiting_ends_in_a_refusal_that_says_what_was_seen() -> None:
    clock = Clock()
    policy = LoadPolicy(wait_s=5.0, look_s=1.0, watch=ScriptedWatch(*[2.0] * 99))
    with pytest.raises(BusyError, match=r"2\.00 cores.*--wait.*--allow-busy"):
        policy.wait_until_quiet((), clock, clock.advance)
    assert clock() == pytest.approx(1005.0, abs=1.01)
