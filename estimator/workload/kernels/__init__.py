"""Kernels that a library calls where it finds them, as ops of our own: none is priced as what stands in for it."""
