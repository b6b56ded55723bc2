"""Merge methods: each one a typed pure function on arrays, found by name in `METHODS`."""

from speechft.merging.methods import data_based, sparse, spectral, sphere
from speechft.merging.methods.base import METHODS, Method, TensorContext

__all__ = ["METHODS", "Method", "TensorContext", "data_based", "sparse", "spectral", "sphere"]
