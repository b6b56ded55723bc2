"""Checkpoints: readers and writers, and the key maps between formats."""

from speechft.encoders.formats.checkpoint import (
    Checkpoint,
    Side,
    check_complete,
    fill_model,
    fingerprint,
)
from speechft.encoders.formats.read import read_checkpoint
from speechft.encoders.formats.write import FORMATS, write_checkpoint

__all__ = [
    "FORMATS",
    "Checkpoint",
    "Side",
    "check_complete",
    "fill_model",
    "fingerprint",
    "read_checkpoint",
    "write_checkpoint",
]
