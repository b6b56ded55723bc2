"""Checkpoints: readers and writers, and the key maps between formats."""

from speechft.encoders.checkpoints.checkpoint import Checkpoint, Side, fill_model
from speechft.encoders.checkpoints.read import read_checkpoint
from speechft.encoders.checkpoints.write import FORMATS, write_checkpoint

__all__ = ["FORMATS", "Checkpoint", "Side", "fill_model", "read_checkpoint", "write_checkpoint"]
