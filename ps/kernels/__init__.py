"""Numba kernels on plain arrays: no allocation, no objects, no I/O."""
