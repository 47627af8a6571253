"""Kernels of the learning side: plain loops over plain arrays."""
