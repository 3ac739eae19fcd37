"""What CPUs tell of their energy."""
