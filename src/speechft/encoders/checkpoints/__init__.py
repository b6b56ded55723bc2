"""Checkpoints: readers and writers, and the key maps between formats."""

from speechft.encoders.checkpoints.checkpoint import (
    Checkpoint,
    Side,
    check_complete,
    fill_model,
    fingerprint,
)
from speechft.encoders.checkpoints.read import read_checkpoint
from speechft.encoders.checkpoints.write import FORMATS, write_checkpoint

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
