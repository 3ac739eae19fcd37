"""Errors a user can act on: one sentence that says what is wrong and names the remedy."""

from __future__ import annotations


class MeterError(Exception):
    """Nothing could be measured. The message names the remedy; the command line prints it and exits with 2."""


class BusyError(MeterError):
    """The machine did other work than what was to be measured."""


class RecordError(MeterError):
    """A record file cannot be read or written."""
