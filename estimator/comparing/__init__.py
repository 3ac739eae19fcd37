"""Many footprints side by side: which is cheaper, by how much, why, and whether the difference is real."""
