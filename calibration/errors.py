"""What can go wrong in a calibration, in one sentence with the remedy."""

from __future__ import annotations

from estimator.base.errors import JoulecastError


class CalibrationError(JoulecastError):
    """A machine that cannot be calibrated, or a record that cannot be used."""
