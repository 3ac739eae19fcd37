"""What every test of a hostile file asserts."""

from __future__ import annotations

import builtins
import os
import resource
import subprocess
from pathlib import Path

import pytest

from estimator.base.errors import ModelFileError
from estimator.sources import load
from tests.security import files

MEMORY_LIMIT_KIB = 300 * 1024


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def refused(canary: Path):
    """Asserts that a file is refused in one line, that the canary was not written, and that memory did not grow."""

    def check(spec: str, *words: str) -> str:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ModelFileError) as caught:
            load(spec)
        message = str(caught.value)
        assert message and "\n" not in message and len(message) < 700
        assert all(word in message for word in words), message
        assert not canary.exists()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_LIMIT_KIB
        return message

    return check


def attacks(canary: Path) -> dict[str, object]:
    write = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": files.Calls(os.system, f"touch {canary}"),
        "exec": files.Calls(builtins.exec, write),
        "eval": files.Calls(builtins.eval, write),
        "open": files.Calls(builtins.open, str(canary), "w"),
        "popen": files.Calls(subprocess.Popen, ["touch", str(canary)]),
        "touch": files.Calls(Path(canary).touch),
    }
