"""Measure joules: meters, windows, records (see issue 3)."""
