"""Families of encoders, one file each, found by being here."""

from __future__ import annotations

from speechft.core.registry import import_modules
from speechft.encoders.convolutional import ConvolutionalEncoder
from speechft.encoders.family import FAMILIES, Family

import_modules(__name__, __path__)

__all__ = ["FAMILIES", "Family", "record_of"]


def record_of(model_type: str) -> Family:
    """Give a family's record; one of HuBERT's shape for a model type that has none."""
    known = FAMILIES.get(model_type) if model_type in FAMILIES else None
    return known or Family(model_type, ConvolutionalEncoder)
