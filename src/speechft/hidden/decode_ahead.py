"""Waveforms of cuts by index, and audio that threads decode before it is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from lhotse.cut import Cut
from torch import Tensor

from speechft.core.devices import compute_alone
from speechft.data.audio import load_waveform
from speechft.data.cuts import heard_seconds

_AHEAD: Final = 64  # utterances that are decoded before they are asked for


class Waveforms:
    """Loads the waveforms of cuts by index, from disk each time.

    Args:
        cuts: the cuts, in the order that indices refer to.
    """

    def __init__(self, cuts: Sequence[Any]) -> None:
        self.cuts: list[Cut] = list(cuts)
        self.durations = [heard_seconds(cut) for cut in self.cuts]

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give 1-D 16 kHz float32 waveforms."""
        return [load_waveform(self.cuts[i]) for i in indices]


class DecodedAhead(Waveforms):
    """As `Waveforms`, by threads that decode what was announced before it is asked for."""

    def __init__(self, cuts: Sequence[Any]) -> None:
        super().__init__(cuts)
        self._coming: list[int] = []
        self._decoding: dict[int, Future[list[Tensor]]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def expect(self, indices: Sequence[int]) -> None:
        """Say what will be asked for, in its order."""
        self._coming = list(reversed(indices))
        self._decoding.clear()
        if self._coming and self._pool is None:
            threads = min(8, os.cpu_count() or 1)
            self._pool = ThreadPoolExecutor(threads, "audio", initializer=compute_alone)
        self._decode_ahead()

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give 1-D 16 kHz float32 waveforms."""
        found: list[Tensor] = []
        for i in indices:
            ahead = self._decoding.pop(i, None)
            found += super().load([i]) if ahead is None else ahead.result()
            self._decode_ahead()
        return found

    def _decode_ahead(self) -> None:
        while self._pool is not None and self._coming and len(self._decoding) < _AHEAD:
            i = self._coming.pop()
            if i not in self._decoding:
                self._decoding[i] = self._pool.submit(super().load, [i])
