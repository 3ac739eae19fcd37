"""Files that are whole or not there: written beside their place, synced, then moved into it."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from estimator.base.errors import JoulecastError

_STALE_S = 60.0
"""A file that is being written is touched more often than this."""


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically: a kill at any moment leaves the old file or the new one.

    Raises `JoulecastError`, which names the file, where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.{os.getpid()}.", suffix=".tmp", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        _sweep(path)
    except OSError as error:
        raise JoulecastError(
            f"{path} cannot be written ({error.strerror}): free its disk, or name another place."
        ) from error


def _sweep(path: Path) -> None:
    """Remove what writers of `path`, now written, that were killed before left beside it."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.\w+\.tmp")
    for left in path.parent.iterdir():
        named = ours.fullmatch(left.name)
        if named and path.stat().st_mtime - left.lstat().st_mtime > _STALE_S and not _lives(int(named[1])):
            left.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    """Whether there is such a process; where that cannot be asked without a signal that ends it, there may be."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
