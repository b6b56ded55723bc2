"""Merging encoders in weight space, by streaming and without torch. Imports no model code."""

from typing import TYPE_CHECKING

from speechft.core.lazy import lazily

if TYPE_CHECKING:
    from speechft.merging.alpha import AlphaRules, Ramp, constant, parse_alpha
    from speechft.merging.engine import compute, stream
    from speechft.merging.methods import METHODS, Method
    from speechft.merging.planning import Plan, Recipe, plan
    from speechft.merging.sources import (
        MappingSource,
        SafetensorsSource,
        Source,
        open_file,
        open_folder,
    )
    from speechft.merging.writing import write_weights

__all__ = [
    "METHODS",
    "AlphaRules",
    "MappingSource",
    "Method",
    "Plan",
    "Ramp",
    "Recipe",
    "SafetensorsSource",
    "Source",
    "compute",
    "constant",
    "open_file",
    "open_folder",
    "parse_alpha",
    "plan",
    "stream",
    "write_weights",
]

__getattr__ = lazily(
    __name__,
    {
        "alpha": "AlphaRules Ramp constant parse_alpha",
        "engine": "compute stream",
        "methods": "METHODS Method",
        "planning": "Plan Recipe plan",
        "sources": "MappingSource SafetensorsSource Source open_file open_folder",
        "writing": "write_weights",
    },
)
