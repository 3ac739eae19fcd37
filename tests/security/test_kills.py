"""Two kills of each writer, and two writers of one file; `python -m tests.security.kills` does many."""

from __future__ import annotations

import pytest

from tests.security.kills import kill_often, two_writers


@pytest.mark.parametrize("what", ["calibration", "search"])
def test_kills_lose_and_double_nothing(what, tmp_path):
    assert kill_often(what, 2, 0, tmp_path)[1:] == (0, 0)
    assert two_writers(what, tmp_path) == (0, True)
