"""Families of encoders, one file each, found by being here."""

from speechft.core.registry import import_modules
from speechft.encoders.family import FAMILIES, Family, record_of

import_modules(__name__, __path__)

__all__ = ["FAMILIES", "Family", "record_of"]
