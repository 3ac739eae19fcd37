"""Models that were pickled, read as data: no code of the file runs."""
