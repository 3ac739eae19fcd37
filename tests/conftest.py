"""Every test has a home of its own: profiles that this machine's user calibrated do not count."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JOULECAST_HOME", str(tmp_path_factory.mktemp("home")))
