"""The one place where the choice of an alpha passes encoders over audio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from lhotse.cut import Cut
from torch import Tensor

from speechft.analysis.alpha.settings import AlphaSettings
from speechft.core.logging import get_logger
from speechft.data.audio import load_waveform
from speechft.encoders import SpeechEncoder
from speechft.encoders.base import refuse_not_finite
from speechft.hidden.dataset_states import HiddenStore, Request
from speechft.hidden.front_end_cache import FrontEndCache, KeptFeatures
from speechft.hidden.states import Passes, SplitStates
from speechft.merging.sweep import OpenSweep, Parent, Sweep
from speechft.probing.inputs import DataSet

_logger = get_logger(__name__)


class Way:
    """The encoders between θ0 and θ', one at a time in one model, and what they have read.

    Args:
        sweep: the way.
        settings: of the choice.
        device: where the encoder computes.

    Attributes:
        passes: encoder passes, one for every alpha that was asked for.
        audio: what they read.
    """

    def __init__(self, sweep: OpenSweep, settings: AlphaSettings, device: str) -> None:
        self._sweep, self._settings, self.device = sweep, settings, device
        self._kept = KeptFeatures(2 << 30)
        self.passes, self.audio = 0, Passes()

    @cached_property
    def encoder(self) -> SpeechEncoder:
        """The model that is refilled.

        Raises:
            IncompatibleModelsError: the encoders do not fit together.
        """
        self._sweep.plan(1.0)  # what cannot be merged is said before anything is loaded
        encoder = self._sweep.load_base(device=self.device)
        if encoder.contexts and self._settings.context:
            encoder.use_context(self._settings.context)
        return encoder.eval().requires_grad_(False)

    def at(self, alpha: float | str) -> SpeechEncoder:
        """Give the encoder at an alpha, or at alphas by layer, until the next one is asked for."""
        self._sweep.fill(self.encoder.model, alpha)
        self.passes += 1
        _logger.info("alpha: pass %d over the audio, at %s", self.passes, alpha)
        return self.encoder

    @torch.no_grad()
    def sample(self, alpha: float | str, cuts: Sequence[Cut]) -> Tensor:
        """Give hidden states (K, N, D) of frames at equal distances in every utterance."""
        encoder, found = self.at(alpha), []
        for cut in cuts:
            output = encoder([load_waveform(cut).to(encoder.device)])
            length = int(output.lengths[0])
            count = min(length, self._settings.frames)
            index = torch.linspace(0, length - 1, count).round().long()
            states = torch.stack([one[0].float() for one in output.hidden_states])
            refuse_not_finite([states], cut.id)
            found.append(states[:, index.to(states.device)].cpu())
            self.audio.add([float(cut.duration)])
        return torch.cat(found, dim=1)

    def splits(
        self, alpha: float | str, data: DataSet, requests: Mapping[str, bool], store: HiddenStore
    ) -> dict[str, SplitStates]:
        """Give the hidden states of splits, all audio read once.

        Args:
            alpha: of the encoder.
            data: the utterances.
            requests: split → whether frames are needed.
            store: keeps them.
        """
        encoder = self.at(alpha)
        cuts: dict[str, Cut] = {}
        for name in requests:
            cuts |= dict(zip(data.audio[name], data.splits[name], strict=True))
        keys = list(cuts)
        index = {key: i for i, key in enumerate(keys)}
        source = FrontEndCache(encoder, list(cuts.values()), 0, self._kept, keys)
        wanted = {
            name: Request([index[key] for key in data.audio[name]], frames)
            for name, frames in requests.items()
        }
        return store.open(encoder, source, wanted, encoder.content_id(), self.audio)


@contextmanager
def open_way(settings: AlphaSettings, device: str) -> Iterator[Way]:
    """Open the encoders of a choice.

    Raises:
        CheckpointError: one cannot be read.
    """
    tuned = tuple(Parent(name) for name in settings.tuned)
    options = {**settings.merge, "dtype": "float32", "seed": settings.seed}
    sweep = OpenSweep(Sweep(Parent(settings.base), tuned, (), settings.points, options=options))
    try:
        yield Way(sweep, settings, device)
    finally:
        sweep.close()
