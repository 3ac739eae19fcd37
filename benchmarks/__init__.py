"""How fast the product is: `make bench`, or `python -m benchmarks [NAME ...]`. No test asserts a time."""
