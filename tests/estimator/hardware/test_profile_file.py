"""Profile files: what is saved is read; what a stranger damaged is refused in one sentence; nothing runs."""

from __future__ import annotations

import base64
import json
import os
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator.base.errors import HardwareError
from estimator.energy.op_features import FEATURES
from estimator.energy.pricing import price
from estimator.hardware import machine as present_machine
from estimator.hardware import profile_file, selection
from estimator.hardware.calibrated import profile_from
from estimator.hardware.profile_file import SUFFIX, load, save
from estimator.hardware.settings import Settings
from tests.calibration.learning.simulated_machine import drawn, learned


@pytest.fixture(scope="module")
def calibrated():
    return learned()


@pytest.fixture
def path(calibrated, tmp_path):
    save(calibrated, tmp_path / f"simulated{SUFFIX}")
    return tmp_path / f"simulated{SUFFIX}"


def test_prices_are_the_same_after_a_round_trip(calibrated, path):
    back = load(path)
    for _, _, workload in drawn(5, 5000):
        before, after = price(workload, profile_from(calibrated).model), price(workload, profile_from(back).model)
        assert after.duration_s.value == pytest.approx(before.duration_s.value, rel=1e-9)
        assert after.energy_j.high == pytest.approx(before.energy_j.high, rel=1e-9)
    assert replace(back, op_times=calibrated.op_times) == calibrated


def _changed(path, **changes):
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | changes))


def _tree(path, **arrays):
    """Replace arrays of one forest."""
    raw = json.loads(path.read_text())
    group = next(iter(raw["op_times"]["groups"].values()))
    group["forest"] |= {k: base64.b64encode(zlib.compress(v)).decode() for k, v in arrays.items()}
    path.write_text(json.dumps(raw))


def _group(path, **changes):
    """Change one group of ops; a mapping is merged into what is there."""
    raw = json.loads(path.read_text())
    group = next(iter(raw["op_times"]["groups"].values()))
    for name, value in changes.items():
        group[name] = group[name] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(raw))


def _times(path, **changes):
    raw = json.loads(path.read_text())
    raw["op_times"] |= changes
    path.write_text(json.dumps(raw))


def _chain(path, nodes):
    """A tree that is one long branch: every node's left is a leaf, its right the next node."""
    inner = np.arange(0, nodes - 1, 2)
    feature = np.full(nodes, -1, dtype="<i4")
    feature[inner] = 0
    left, right = np.zeros(nodes, dtype="<i4"), np.zeros(nodes, dtype="<i4")
    left[inner], right[inner] = inner + 1, inner + 2
    numbers = np.zeros(nodes, dtype="<f8").tobytes()
    arrays = {"feature": feature, "left": left, "right": right}
    _tree(path, roots=_ints(0), threshold=numbers, value=numbers, **{k: v.tobytes() for k, v in arrays.items()})


def _ints(*values):
    return np.array(values, dtype="<i4").tobytes()


HOSTILE = {
    "empty": lambda p: p.write_text(""),
    "torn": lambda p: p.write_bytes(p.read_bytes()[:5000]),
    "a list": lambda p: p.write_text("[]"),
    "a pickle": lambda p: p.write_bytes(b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix"),
    "another version": lambda p: _changed(p, joulecast_profile=99),
    "a device that is none": lambda p: _changed(p, device="meta"),
    "a name with a path": lambda p: _changed(p, name="../up"),
    "no op times": lambda p: _changed(p, op_times={}),
    "text for a number": lambda p: _changed(p, seconds="long"),
    "not a number": lambda p: p.write_text(p.read_text().replace('"seconds": ', '"seconds": NaN, "x": ')),
    "deeply nested": lambda p: p.write_text("[" * 100_000),
    "a loop in a tree": lambda p: _tree(p, left=_ints(0)),
    "a child out of range": lambda p: _tree(p, right=_ints(10**9)),
    "a feature that is none": lambda p: _tree(p, feature=_ints(999)),
    "a bomb": lambda p: _tree(p, value=bytes(200_000_000)),
    "half a number": lambda p: _tree(p, roots=b"abc"),
    "a factor beyond a float": lambda p: _group(p, forest={"base": 800.0}),
    "a factor that is infinity once it is multiplied": lambda p: _group(p, forest={"base": 709.0}),
    "slopes beyond a float": lambda p: _group(p, slopes=[400.0] * (1 + FEATURES), high=[50.0] * (1 + FEATURES)),
    "low above high": lambda p: _group(p, low=[2.0] * (1 + FEATURES), high=[1.0] * (1 + FEATURES)),
    "a margin without end": lambda p: _times(p, margins={"inference": 9999.0}, unseen_spread=5.0),
    "a tree of one long branch": lambda p: _chain(p, 2001),
    "a chain of 400,001 nodes": lambda p: _chain(p, 400_001),
    "a learning curve of 100,000 points": lambda p: _changed(p, learning_curve=[[1, 1]] * 100_000),
    "a pace of 100,000 times": lambda p: _changed(p, pace_s=[1.0] * 100_000),
    "more threads than fit into a float": lambda p: _changed(p, threads=10**400),
    "an infinite number": lambda p: p.write_text(p.read_text().replace('"seconds": ', '"seconds": 1e999, "x": ')),
    "no base64": lambda p: p.write_text(p.read_text().replace('"threshold": "', '"threshold": "!')),
}


@pytest.mark.parametrize("damage", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence(path, damage):
    HOSTILE[damage](path)
    with pytest.raises(HardwareError, match="estimate calibrate") as refused:
        load(path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.binary(min_size=1, max_size=4))
def test_changed_bytes_never_crash(calibrated, tmp_path_factory, at, junk):
    path = tmp_path_factory.mktemp("fuzz") / f"x{SUFFIX}"
    save(calibrated, path)
    raw = bytearray(path.read_bytes())
    at %= len(raw)
    raw[at : at + len(junk)] = junk
    path.write_bytes(bytes(raw))
    try:
        found = profile_from(load(path))
    except HardwareError:
        return
    assert price(drawn(1)[0][2], found.model).duration_s.value >= 0


@pytest.mark.parametrize("kind", ["directory", "pipe", "device", "too large"])
def test_what_is_no_ordinary_file_is_refused_before_it_is_opened(tmp_path, kind):
    path = tmp_path / f"x{SUFFIX}"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(HardwareError, match=r"directory|a device, a pipe or a socket|larger than 64 MiB"):
        load(path)


def test_names_in_a_profile_are_printable(path):
    _changed(path, device_name="\x1b[31mEvil\x1b]0;title\x07 9000", meter="a\u202eb\nc")
    machine = load(path)
    assert machine.device_name.isprintable() and machine.meter == "a b c"


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(HardwareError, match="cannot be read"):
        load(tmp_path / f"none{SUFFIX}")


def test_hardware_finds_a_kept_profile_by_name_and_by_path(calibrated, path):
    save(calibrated, profile_file.directory() / f"mine{SUFFIX}")
    for name in ("mine", str(path)):
        profile, assumption = selection.choose(name)
        assert profile.status == "calibrated" and assumption.status == "given"
        assert "20 random networks" in assumption.source
    with pytest.raises(HardwareError, match="clock"):
        selection.choose("mine", Settings(clock_hz=900e6))
    with pytest.raises(HardwareError, match=r"unknown hardware 'yours'.* Calibrated: mine\."):
        selection.choose("yours")


def test_auto_takes_the_profile_of_this_machine_alone(calibrated, monkeypatch):
    monkeypatch.setattr(present_machine, "present", lambda: (present_machine.Seen("cpu", "Simulated 3000"),))
    save(replace(calibrated, device_name="Another 1"), profile_file.directory() / f"other{SUFFIX}")
    assert selection.choose("auto")[0].status == "generic"
    save(calibrated, profile_file.directory() / f"mine{SUFFIX}")
    profile, assumption = selection.choose("auto")
    assert profile.status == "calibrated" and assumption.status == "detected"


def test_names_do_not_lead_out_of_the_directory():
    assert profile_file.path_of("../../etc/passwd") is None
    assert profile_file.path_of("a/b") is None
