"""Whatever is measured and learned here is of the same few random networks, which are traced once."""

from __future__ import annotations

import pytest

from tests.calibration.learning.simulated_machine import traced_once


@pytest.fixture(scope="session", autouse=True)
def _traced_once():
    with traced_once():
        yield
