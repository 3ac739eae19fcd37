"""Exported programs (`.pt2`), read as data: the graph is carried out on meta tensors."""
