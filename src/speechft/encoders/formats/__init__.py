"""Checkpoints: readers and writers, and the key maps between formats."""

from typing import TYPE_CHECKING

from speechft.core.lazy import lazily

if TYPE_CHECKING:
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

_HERE = "speechft.encoders.formats"
__getattr__ = lazily(
    __name__,
    dict.fromkeys(__all__, f"{_HERE}.checkpoint")
    | dict.fromkeys(("FORMATS", "write_checkpoint"), f"{_HERE}.write")
    | {"read_checkpoint": f"{_HERE}.read"},
)
