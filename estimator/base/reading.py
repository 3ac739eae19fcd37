"""Files that a user names, opened for reading: only ordinary ones, and never more of them than fits.

A pipe waits for a writer for ever, a device has no end, and `st_size` of both is 0; so they are told before they are
opened. Every refusal is an `OSError` whose `strerror` says why, like those of the operating system.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any


def check_ordinary(path: Path) -> None:
    """Raises `OSError` where `path` leads to nothing, or to a directory, pipe, socket or device."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no ordinary file but a device, a pipe or a socket", str(path))


def read_bytes(path: Path, limit: int) -> bytes:
    """All of an ordinary file of at most `limit` bytes."""
    check_ordinary(path)
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit / 2**20:,.0f} MiB", str(path))
    return content


def read_json(path: Path, limit: int) -> Any:
    """What a JSON file of at most `limit` bytes holds. Raises `ValueError` where it holds no JSON, or too deep."""
    try:
        return json.loads(read_bytes(path, limit))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
