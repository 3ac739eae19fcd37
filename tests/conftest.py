"""Every test has a home of its own: profiles that this machine's user calibrated do not count."""

from __future__ import annotations

import os

import pytest

# Before a library starts its threads: workers of pytest-xdist take a core each, and threads beyond that wait for each
# other by spinning, which takes the simulated calibrations three times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JOULECAST_HOME", str(tmp_path_factory.mktemp("home")))
