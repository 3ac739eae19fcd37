"""Files of a user, read within bounds: only ordinary files are opened, and no more is read than was allowed."""

from __future__ import annotations

import stat
from pathlib import Path


def not_ordinary(path: Path) -> str:
    """Why `path` must not be opened for reading, "" for an ordinary file. A pipe waits, and a device has no end.

    Raises OSError where there is nothing at `path`.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return ""
    return "it is a directory" if stat.S_ISDIR(mode) else "it is no ordinary file but a device or a pipe"


def read_bytes(path: Path, most: int) -> bytes:
    """What the file at `path` holds.

    Raises OSError where it cannot be read, ValueError where it is no ordinary file or larger than `most` bytes.
    """
    if why := not_ordinary(path):
        raise ValueError(why)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most / 2**20:,.0f} MiB")
    return content
