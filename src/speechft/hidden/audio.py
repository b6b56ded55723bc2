"""From cuts to what an encoder's layers read, with the decoding of audio ahead of them."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lhotse.cut import Cut
from torch import Tensor

from speechft.data.audio import load_waveform
from speechft.data.effects import heard_seconds
from speechft.encoders import SpeechEncoder
from speechft.hidden.inputs import features_of
from speechft.hidden.kept_features import KeptFeatures

_AHEAD = 64


class AudioSource:
    """Gives front-end features by index.

    What there is room for is kept for further encoders with the same front end.

    Args:
        encoder: its front end must stay frozen.
        cuts: the cuts, in the order that indices refer to.
        keys: what tells the audio of each cut from any other in `kept`.
        kept: features that encoders share; None: none is kept.
        threads: that decode audio ahead, once `expect` has said what comes.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        cuts: Sequence[Cut],
        keys: Sequence[Hashable] = (),
        kept: KeptFeatures | None = None,
        threads: int = 0,
    ) -> None:
        self.encoder = encoder
        self.cuts = list(cuts)
        self.durations = [heard_seconds(cut) for cut in cuts]
        own = KeptFeatures(0) if kept is None else kept
        self._kept = own.shelf(encoder, range(len(cuts)) if kept is None else keys)
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._coming: list[int] = []
        self._loading: dict[int, Future[Tensor]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pool": None, "_loading": {}, "_coming": []}

    def expect(self, indices: Sequence[int]) -> None:
        """Say what will be asked for, in its order."""
        self._coming = [i for i in reversed(indices) if i not in self._kept]
        self._loading.clear()
        self._fill()

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give features (T, C) of each utterance, on the encoder's device or the CPU.

        Where the front end has other rows than frames (Whisper) these are 1-D waveforms.
        """
        if not self.encoder.front_end_by_frames:
            return [self._waveform(i) for i in indices]
        return self._kept.load(indices, self._compute)

    def _fill(self) -> None:
        if self._coming and self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="audio")
        while self._pool is not None and self._coming and len(self._loading) < _AHEAD:
            i = self._coming.pop()
            if i not in self._loading:
                self._loading[i] = self._pool.submit(load_waveform, self.cuts[i])

    def _waveform(self, index: int) -> Tensor:
        ahead = self._loading.pop(index, None)
        wave = load_waveform(self.cuts[index]) if ahead is None else ahead.result()
        self._fill()
        return wave

    def _compute(self, indices: Sequence[int]) -> list[Tensor]:
        return features_of(self.encoder, [self._waveform(i) for i in indices])
