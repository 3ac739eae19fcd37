"""Measurements that others published, and the coefficients fitted on them that the product ships."""
