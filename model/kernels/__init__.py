"""Numba kernels of features and models: plain arrays in, plain arrays out, no allocation."""
