"""An encoder as other benchmarks and toolkits want it: S3PRL, X-ARES, XARES-LLM, MTEB.

None of them is imported or needed here. Their interfaces as of: S3PRL 0.4.18 (an upstream's
`forward`), X-ARES 0.1.3 (its `audio_encoder_checker`), XARES-LLM's README, MTEB 2.26 (its
`EncoderProtocol`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechft.core.devices import usable_device
from speechft.core.lengths import SAMPLE_RATE, masked_mean
from speechft.encoders import load_encoder


class _Wrapped(nn.Module):
    """An encoder inside a module of another interface.

    Args:
        encoder: ENCODER: a folder, a Hub id, a checkpoint file, a packaged name.
        device: where it computes; `auto` takes a GPU where there is one.
    """

    def __init__(self, encoder: Path | str, device: str = "auto") -> None:
        super().__init__()
        self.encoder = load_encoder(encoder, device=usable_device(device))


class S3PRLUpstream(_Wrapped):
    """An upstream as S3PRL's downstreams call it, with hidden states that padding does not change.

    Args:
        encoder: ENCODER.
        device: where it computes.
    """

    def get_downsample_rates(self, key: str = "hidden_states") -> int:
        """Give the samples from one frame to the next, the same for every key."""
        del key
        return self.encoder.hop

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """Give the L + 1 hidden states (B, T, D) of 1-D waveforms at 16 kHz."""
        states, _ = self.encoder(wavs)
        return {"hidden_states": list(states), "last_hidden_state": states[-1]}


class XaresEncoder(_Wrapped):
    """An encoder for X-ARES: audio (B, S) at 16 kHz to the last hidden state (B, T, D).

    Args:
        encoder: ENCODER.
        device: where it computes.
    """

    def __init__(self, encoder: Path | str, device: str = "auto") -> None:
        super().__init__(encoder, device)
        self.sampling_rate = SAMPLE_RATE
        self.output_dim = self.encoder.hidden_size
        self.hop_size_in_ms = 1000 * self.encoder.hop / SAMPLE_RATE

    def forward(self, audio: Tensor) -> Tensor:
        """Give the last hidden state (B, T, D)."""
        with torch.inference_mode():
            states: tuple[Tensor, ...] = self.encoder(audio).hidden_states
        return states[-1]


class XaresLLMEncoder(_Wrapped):
    """An encoder for XARES-LLM, with attention masks (1: keep) on both sides.

    Args:
        encoder: ENCODER.
        device: where it computes.
    """

    def __init__(self, encoder: Path | str, device: str = "auto") -> None:
        super().__init__(encoder, device)
        self.output_dim = self.encoder.hidden_size

    def forward(
        self, audio: Tensor, audio_attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the last hidden state (B, T, D) and its mask (B, T).

        Args:
            audio: (B, S), 16 kHz.
            audio_attention_mask: (B, S), 1 where audio is valid.
        """
        lengths = None if audio_attention_mask is None else audio_attention_mask.sum(1).cpu()
        states, frames = self.encoder(audio, lengths)
        valid = torch.arange(states[-1].shape[1], device=frames.device) < frames[:, None]
        return states[-1], valid.long()


class MTEBEncoder(_Wrapped):
    """An encoder for MTEB's audio tasks (MAEB): one embedding per recording.

    The embedding is the mean over time of a hidden state. MTEB also asks for a `mteb_model_meta`;
    where MTEB is installed it is an empty one with the encoder's name.

    Args:
        encoder: ENCODER.
        device: where it computes.
        layer: which hidden state, 0 to L; the last one if not given.
        max_seconds: what of a longer recording is heard.
    """

    def __init__(
        self,
        encoder: Path | str,
        device: str = "auto",
        *,
        layer: int = -1,
        max_seconds: float = 30.0,
    ) -> None:
        super().__init__(encoder, device)
        self.name, self.layer, self.max_seconds = str(encoder), layer, max_seconds

    @property
    def mteb_model_meta(self) -> Any:
        """What MTEB writes beside the results."""
        from mteb.models import ModelMeta  # type: ignore[import-not-found, unused-ignore]

        return ModelMeta.create_empty({"name": f"speechft/{Path(self.name).name}"})

    def encode(self, inputs: Iterable[dict[str, Any]], **_: Any) -> np.ndarray[Any, Any]:
        """Give the embeddings (N, D) of all recordings of all batches.

        Args:
            inputs: batches; `audio` is a list of `{"array": …, "sampling_rate": …}`.
        """
        found = []
        for batch in inputs:
            waves = [self._heard(audio) for audio in batch["audio"]]
            with torch.inference_mode():
                states, lengths = self.encoder(waves)
            found.append(masked_mean(states[self.layer], lengths).float().cpu().numpy())
        return np.concatenate(found)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Give the cosines (N, M) of two sets of embeddings."""
        one, other = (_unit(embeddings) for embeddings in (embeddings1, embeddings2))
        return one @ other.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Give the cosines (N,) of pairs of embeddings."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(-1)

    def _heard(self, audio: Any) -> Tensor:
        import soxr

        wave = np.asarray(audio["array"], dtype=np.float32)
        wave = wave.mean(0) if wave.ndim == 2 else wave
        wave = wave[: int(self.max_seconds * audio["sampling_rate"])]
        if audio["sampling_rate"] != SAMPLE_RATE:
            wave = soxr.resample(wave, audio["sampling_rate"], SAMPLE_RATE)
        return torch.from_numpy(np.ascontiguousarray(wave))


def _unit(embeddings: Any) -> Tensor:
    return nn.functional.normalize(torch.from_numpy(np.array(embeddings)), dim=-1)
