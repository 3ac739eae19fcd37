"""Files that are whole or not there, written by one process at a time; what a kill left is swept."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from estimator.base.atomic import write_text
from estimator.base.errors import JoulecastError
from estimator.base.locks import locked

HOLDS = """
import sys, pathlib
from estimator.base.locks import locked
lock = locked(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_writer_is_refused_and_a_dead_one_does_not_block(tmp_path):
    path = tmp_path / "results.jsonl"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(JoulecastError, match="being written by another joulecast"):
        locked(path)
    holder.kill()
    holder.communicate()
    with locked(path):
        pass


def test_what_a_kill_left_is_swept_at_the_next_write(tmp_path):
    path, dead = tmp_path / "a.json", 2**22 + 1  # beyond every process id of Linux
    old = [
        tmp_path / f".a.json.{dead}.x1_.tmp",
        tmp_path / f".a.json.{os.getpid()}.x2_.tmp",
        tmp_path / ".b.json.1.tmp",
    ]
    fresh = tmp_path / f".a.json.{dead}.x3_.tmp"
    for one in (*old, fresh):
        one.touch()
    for one in old:
        os.utime(one, (0, 0))
    write_text(path, "{}")
    assert path.read_text() == "{}"
    assert not old[0].exists() and old[1].exists() and old[2].exists() and fresh.exists()


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JoulecastError, match=r"a\.json cannot be written \(No space left on device\)"):
        write_text(tmp_path / "a.json", "{}")
    assert not list(tmp_path.iterdir())
