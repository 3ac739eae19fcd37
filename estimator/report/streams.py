"""Standard output belongs to the answer: what a model's code prints goes to standard error."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_STDOUT, _STDERR = 1, 2


def _flush() -> None:
    """Write out what Python's and C's buffers hold for standard output, before it changes its place."""
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not stream.closed:
            stream.flush()
    with contextlib.suppress(OSError, TypeError, AttributeError):  # a platform without a C library of this kind
        ctypes.CDLL(None).fflush(None)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Everything written to standard output inside goes to standard error: by Python, C code and child processes."""
    for descriptor in (_STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:  # closed; left open to be taken by the next file, it would get what is meant for the stream
            _point_at_nothing(descriptor)
    _flush()
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        with contextlib.suppress(OSError, ValueError):  # what the model printed; nothing of the answer
            _flush()
        os.dup2(kept, _STDOUT)
        os.close(kept)


def drop_stdout() -> None:
    """Let what could not be written go, so that the interpreter does not try again on its way out."""
    _point_at_nothing(_STDOUT)
    with contextlib.suppress(OSError, ValueError):
        _flush()


def _point_at_nothing(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
