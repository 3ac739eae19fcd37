"""What GPUs tell of their energy."""
