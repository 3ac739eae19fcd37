"""What is no ordinary file is refused before it is opened, wherever a path is read: a pipe would wait for ever."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from calibration.errors import CalibrationError
from calibration.measuring import samples
from estimator import Scenario
from estimator.base.errors import JoulecastError
from estimator.base.reading import read_bytes, read_json
from estimator.hardware import profile_file
from estimator.search.plan import Plan
from estimator.search.records import ResultFile
from estimator.sources import load
from estimator.sources.libraries.huggingface import read_config
from profilers import record
from profilers.errors import RecordError


def _socket(path):
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 108 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


SPECIAL = {
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "socket": _socket,
    "link to a pipe": lambda path: (os.mkfifo(path.with_suffix(".other")), path.symlink_to(path.with_suffix(".other"))),
}


def _results(path):
    ResultFile(path, Plan("space.py:space", Scenario(trials=1)))


READERS = {
    "model": lambda path: load(str(path)),
    "config": read_config,
    "profile": profile_file.load,
    "calibration record": samples.read,
    "record": record.read,
    "results": _results,
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("reader", READERS)
def test_a_special_file_is_refused_in_one_sentence(tmp_path, kind, reader):
    path = tmp_path / "special.pt"
    SPECIAL[kind](path)
    with pytest.raises((JoulecastError, CalibrationError, RecordError), match="no ordinary file") as refused:
        READERS[reader](path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("reader", sorted(READERS.keys() - {"model"}))
def test_a_directory_is_no_file(tmp_path, reader):
    with pytest.raises((JoulecastError, CalibrationError, RecordError), match="Is a directory"):
        READERS[reader](tmp_path)


def test_nothing_is_written_into_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RecordError, match="no ordinary file"):
        record.append_line(tmp_path / "pipe", "{}")


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[1]")
    assert read_bytes(path, 3) == b"[1]" and read_json(path, 3) == [1]
    with pytest.raises(OSError, match="larger than"):
        read_bytes(path, 2)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="too deep"):
        read_json(path, 2**20)
