"""Guards: what says that θ' collapses, while there is still something to save."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from speechft.core.errors import DivergedError
from speechft.core.lengths import padding_mask
from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.hidden.front_end_cache import front_end_output
from speechft.metrics.similarity import FeatureSimilarity
from speechft.training.finetune.settings import Guarding
from speechft.training.loop import Progress

SIMILARITY: Final = "similarity"
HEARD: Final = 8  # utterances whose hidden states are compared
_MEMORY: Final = 0.98  # of the usual norm: about the last 50 updates
_BEGINS: Final = 20
log = get_logger(__name__)


class Guard:
    """Watches how large gradients are, and how alike hidden states are to those of θ0.

    A useful θ' keeps most of its states; the mean over all of them is compared, since the last
    state alone moves far in useful runs, too.

    Args:
        how: whether it warns, or ends the run.
        encoder: θ0 now, θ' later.
        items: utterances to compare by, 1-D waveforms.
        folder: of the run, for messages.
        least: linear CKA with θ0's hidden states, averaged over them, below which θ' has collapsed.
        most: times its usual norm, above which a gradient is too large.
    """

    def __init__(
        self,
        how: Guarding,
        encoder: SpeechEncoder,
        items: Sequence[Tensor],
        folder: Path,
        least: float,
        most: float,
    ) -> None:
        self.how, self.encoder, self.items, self.folder = how, encoder, list(items), folder
        self.least, self.most = least, most
        self._start = self._states()

    def similarity(self) -> dict[str, float]:
        """Give linear CKA with θ0, the mean over all states; 0 for one that never changes."""
        total = 0.0
        for before, now in zip(self._start, self._states(), strict=True):
            found = FeatureSimilarity()
            found.add(before, now)
            total += 0.0 if math.isnan(found.cka) else found.cka
        return {SIMILARITY: total / len(self._start)}

    def look(self, figures: dict[str, float], progress: Progress) -> None:
        """Warn, or end the run, where the states are not like θ0's any more.

        Raises:
            DivergedError: see `how`.
        """
        value = figures[SIMILARITY]
        if value < self.least:
            wanted = f"linear CKA of at least {self.least:g} (guard_similarity)"
            self._say("hidden states are no longer like those of θ0", wanted, value, progress)

    def feel(self, progress: Progress) -> None:
        """Warn, or end the run, where a gradient is far larger than usual.

        Raises:
            DivergedError: see `how`.
        """
        norm, usual = progress.norm, progress.usual_norm
        if not math.isfinite(norm):
            return  # the update was skipped
        if progress.update > _BEGINS and norm > self.most * usual > 0:
            wanted = f"a norm of at most {self.most:g} times the usual {usual:.3g} (guard_gradient)"
            self._say("the gradient is far larger than usual", wanted, norm, progress)
        progress.usual_norm = _MEMORY * usual + (1 - _MEMORY) * norm if usual else norm

    def _say(self, what: str, expected: str, found: float, progress: Progress) -> None:
        hint = "lower the learning rate, or take method replay or l2sp, which hold θ' near θ0"
        if self.how == "stop":
            update = f"{found:.3g} after update {progress.update}"
            raise DivergedError(what, where=self.folder, expected=expected, found=update, hint=hint)
        said = "update %d: %s: expected %s, found %.3g; %s"
        log.warning(said, progress.update, what, expected, found, hint)

    @torch.no_grad()
    def _states(self) -> list[Tensor]:
        """Give all frames (N, D) of every hidden state."""
        training = self.encoder.training
        self.encoder.eval()
        states, lengths = self.encoder.from_front_end(*front_end_output(self.encoder, self.items))
        self.encoder.train(training)
        heard = ~padding_mask(lengths, states[0].shape[1])
        return [state[heard].float().cpu() for state in states]
