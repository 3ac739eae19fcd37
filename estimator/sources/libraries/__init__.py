"""Models of installed libraries, built from their settings without weights."""
