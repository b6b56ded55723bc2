"""Features of a frozen CNN front end, computed once per utterance and kept in memory."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from speechft.encoders import SpeechEncoder
from speechft.hidden.inputs import features_of
from speechft.hidden.kept_features import KeptFeatures, Shelf
from speechft.hidden.waveforms import Waveforms


class FrontEndCache:
    """Gives front-end features by index; what does not fit the limit is computed again each time.

    Where the front end has other rows than frames (Whisper) it gives waveforms, as `Waveforms`.

    Args:
        encoder: its front end must stay frozen while the cache is in use.
        cuts: the cuts, in the order that indices refer to.
        limit_bytes: memory that the cache may take, where it is its own.
        kept: features that others have computed or will need; None: a memory of its own.
        keys: what tells the audio of each cut from any other in `kept`.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        cuts: Sequence[Any],
        limit_bytes: int = 4 << 30,
        kept: KeptFeatures | None = None,
        keys: Sequence[Hashable] = (),
    ) -> None:
        self.encoder = encoder
        self.waveforms = Waveforms(cuts)
        self.durations = self.waveforms.durations
        self._own = KeptFeatures(limit_bytes) if kept is None else kept
        self._keys: Sequence[Hashable] = range(len(cuts)) if kept is None else keys

    @cached_property
    def kept(self) -> Shelf:
        """Where features lie; known once the encoder is where it computes."""
        return self._own.shelf(self.encoder, self._keys)

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give features (T, C), on the CPU, for each index, or 1-D waveforms."""
        if not self.encoder.front_end_by_frames:
            return self.waveforms.load(indices)
        return self.kept.load(indices, self._compute)

    def _compute(self, indices: Sequence[int]) -> list[Tensor]:
        # Whole dev splits are held: what is not kept may not fill the GPU either.
        return [own.cpu() for own in features_of(self.encoder, self.waveforms.load(indices))]
