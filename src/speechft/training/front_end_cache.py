"""Features of a frozen CNN front end, computed once per utterance and kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from speechft.encoders import SpeechEncoder
from speechft.training.waveforms import Waveforms


class FrontEndCache:
    """Gives front-end features by index; what does not fit the limit is computed again each time.

    Where the front end has other rows than frames (Whisper) it gives waveforms, as `Waveforms`.

    Every utterance goes through the front end alone, so that its features do not depend, not even
    in the last bit, on which batch asked for them first.

    Args:
        encoder: its front end must stay frozen while the cache is in use.
        cuts: the cuts, in the order that indices refer to.
        limit_bytes: memory that the cache may take.
    """

    def __init__(
        self, encoder: SpeechEncoder, cuts: Sequence[Any], limit_bytes: int = 4 << 30
    ) -> None:
        self.encoder = encoder
        self.waveforms = Waveforms(cuts)
        self.durations = self.waveforms.durations
        self._kept: dict[int, Tensor] = {}
        self._room = limit_bytes

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give features (T, C), on the CPU, for each index, or 1-D waveforms."""
        if not self.encoder.front_end_by_frames:
            return self.waveforms.load(indices)
        return [self._kept[i] if i in self._kept else self._compute(i) for i in indices]

    @torch.no_grad()
    def _compute(self, index: int) -> Tensor:
        waveform = self.waveforms.load([index])[0][None].to(self.encoder.device)
        lengths = torch.tensor([waveform.shape[1]], device=waveform.device)
        features = self.encoder.front_end(waveform, lengths)[0][0].float().cpu()
        size = features.numel() * features.element_size()
        if size <= self._room:
            self._room -= size
            self._kept[index] = features
        return features
