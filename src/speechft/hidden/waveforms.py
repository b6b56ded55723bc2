"""Waveforms by index: the source of batches for objectives that train the CNN front end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from speechft.data.audio import load_waveform
from speechft.data.effects import heard_seconds


class Waveforms:
    """Loads the waveforms of cuts, from disk each time.

    Args:
        cuts: the cuts, in the order that indices refer to.
    """

    def __init__(self, cuts: Sequence[Any]) -> None:
        self.cuts = list(cuts)
        self.durations = [heard_seconds(cut) for cut in self.cuts]

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give 1-D 16 kHz float32 waveforms."""
        return [load_waveform(self.cuts[i]) for i in indices]
