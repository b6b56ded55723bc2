"""Formats of checkpoints: readers and writers, driven by the families' records."""

from typing import TYPE_CHECKING

from speechft.core.lazy import lazily

if TYPE_CHECKING:
    from speechft.encoders.checkpoint import (
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

__getattr__ = lazily(
    __name__,
    {
        ".checkpoint": "Checkpoint Side check_complete fill_model fingerprint",
        "read": "read_checkpoint",
        "write": "FORMATS write_checkpoint",
    },
)
