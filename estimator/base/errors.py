"""Errors a user can act on: one sentence that says what is wrong and names the remedy."""

from __future__ import annotations


class JoulecastError(Exception):
    """Bad input. The message is one sentence naming the remedy; the command line prints it and exits with 2."""


class ModelFileError(JoulecastError):
    """The model file cannot be read, is unsafe, or holds no architecture."""


class InputError(JoulecastError):
    """The example input does not fit the model, or no input could be derived from it."""


class HardwareError(JoulecastError):
    """The hardware name is unknown or ambiguous, or its profile is damaged."""


class RegionError(JoulecastError):
    """The region is unknown or ambiguous."""


class ScenarioError(JoulecastError):
    """A scenario value is out of its range or contradicts another."""


FOREIGN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a model's own code or a library's may raise where settings or inputs are not what it expects."""


def told(error: BaseException) -> str:
    """The first line of what somebody else's code raised, without its full stop; its type where it says nothing."""
    if isinstance(error, SystemExit):
        return f"forward calls sys.exit ({error})"
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0].rstrip(".") if len(lines[0]) <= 200 else lines[0][:197] + "..."
