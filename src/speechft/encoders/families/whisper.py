"""Whisper's encoder, on 30 s of a mel spectrogram.

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision"; the spectrogram
by transformers' own feature extractor, with the settings of `preprocessor_config.json`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from speechft.core.errors import DataError
from speechft.encoders.base import SAMPLE_RATE, EncoderOutput, SpeechEncoder
from speechft.encoders.family import Family, register

FRAME, SHIFT = 400, 160


class WhisperEncoder(SpeechEncoder):
    """Whisper's encoder. Its CNN front end is the two convolutions on the mel spectrogram.

    Every utterance is padded to the 30 s that Whisper is trained on, so nothing depends on the
    batch; frames behind the utterance's end are cut off. State 0 is the first layer's input:
    convolutions plus positions. The last state is behind the final layer norm. The decoder is kept
    in the checkpoint but takes no part.
    """

    front_end_prefixes: ClassVar[tuple[str, ...]] = ("encoder.conv1.", "encoder.conv2.")
    front_end_by_frames: ClassVar[bool] = False  # always 30 s
    style: ClassVar[str] = "pre-norm layers"
    front_end_input: ClassVar[str] = "log-mel spectrogram of 30 s"

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Tell whether a model has Whisper's encoder."""
        encoder = getattr(model, "encoder", None)
        return all(hasattr(encoder, n) for n in ("conv1", "conv2", "embed_positions", "layers"))

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return SHIFT * int(self.model.encoder.conv2.stride[0])

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Give the number of frames (B,) that utterances of `lengths` samples (B,) reach into."""
        return torch.where(lengths < FRAME, 0, (lengths + self.hop - 1) // self.hop)

    def encoder_parameters(self) -> dict[str, Parameter]:
        """Give the parameters behind the front end; the decoder's are not among them."""
        return {
            name: parameter
            for name, parameter in super().encoder_parameters().items()
            if name.startswith("encoder.")
        }

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Give the convolutions' output (B, T, D) over 30 s, and the utterances' frames (B,)."""
        from transformers import WhisperFeatureExtractor

        encoder = self.model.encoder
        frames = self.frame_lengths(lengths)
        longest = int(encoder.config.max_source_positions)
        if int(frames.max()) > longest:
            raise DataError(
                "an utterance is longer than Whisper's encoder takes",
                where=f"utterance {int(frames.argmax())} of the batch",
                found=f"{int(lengths.max()) / SAMPLE_RATE:.1f} s",
                expected=f"at most {longest * self.hop / SAMPLE_RATE:.1f} s",
                hint="cut the data into shorter utterances",
            )
        extractor = WhisperFeatureExtractor.from_dict(dict(self.preprocessor))
        samples = [w[:n].cpu().numpy() for w, n in zip(waveforms, lengths.tolist(), strict=True)]
        mel = extractor(
            samples, sampling_rate=SAMPLE_RATE, max_length=longest * self.hop, return_tensors="pt"
        )["input_features"].to(self.device)
        hidden = nn.functional.gelu(encoder.conv1(mel))
        hidden = nn.functional.gelu(encoder.conv2(hidden))
        return hidden.transpose(1, 2), frames

    def from_front_end(
        self, features: Tensor, frame_lengths: Tensor, *, mask_time: Tensor | None = None
    ) -> EncoderOutput:
        """Add positions and apply the transformer; the states end with the longest utterance."""
        encoder = self.model.encoder
        if mask_time is not None:
            self._mask_embedding()
        hidden = features.float() + encoder.embed_positions.weight
        hidden = nn.functional.dropout(hidden, encoder.dropout, self.training)
        states = [hidden]
        for layer in encoder.layers:
            output = layer(hidden, None)
            hidden = output[0] if isinstance(output, tuple) else output
            states.append(hidden)
        states[-1] = encoder.layer_norm(hidden)
        longest = int(frame_lengths.max())
        return EncoderOutput(tuple(s[:, :longest] for s in states), frame_lengths)


def _preprocessor(config: Any) -> dict[str, Any]:
    kind = {"feature_extractor_type": "WhisperFeatureExtractor"}
    return {**kind, "feature_size": config.num_mel_bins}


register(
    Family(
        "whisper",
        WhisperEncoder,
        preprocessor=_preprocessor,
        adapters={"feed-forward": ("fc1", "fc2")},
    )
)
