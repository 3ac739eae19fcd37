"""One writer at a time for a file that grows over hours."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from estimator.base.errors import JoulecastError


def locked(path: Path) -> FileLock:
    """The lock of `path`, taken; release it, or use it as a context manager. It dies with the process that holds it.

    Raises `JoulecastError` where another process holds it.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise JoulecastError(
            f"{path} is being written by another joulecast: wait until that ends, or name another place with --out."
        ) from error
    except OSError as error:
        raise JoulecastError(
            f"{path} cannot be locked ({error.strerror}): name a place with --out that you may write to."
        ) from error
    return lock
