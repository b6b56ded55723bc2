"""Whisper's encoder, on a mel spectrogram: 30 s of it, or as much as there is.

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision"; the spectrogram
by transformers' own feature extractor, with the settings of `preprocessor_config.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE, padding_mask
from speechft.encoders.base import EncoderOutput, SpeechEncoder
from speechft.encoders.family import Family, register
from speechft.encoders.identity import Context

FRAME, SHIFT = 400, 160


class WhisperEncoder(SpeechEncoder):
    """Whisper's encoder. Its CNN front end is the two convolutions on the mel spectrogram.

    With the context `30s` every utterance is padded to the 30 s that Whisper is trained on, so
    nothing depends on the batch; frames behind the utterance's end are cut off. With `utterance`
    the positions end with it, and the padding of a batch is masked: short utterances cost a
    fraction, and have other states than Whisper's own. The front end's output is the same in both.

    State 0 is the first layer's input: convolutions plus positions. The last state is behind the
    final layer norm. A decoder is kept in the checkpoint but takes no part.
    """

    front_end_prefixes: ClassVar[tuple[str, ...]] = (
        *("encoder.conv1.", "encoder.conv2."),
        *("conv1.", "conv2."),  # of the encoder alone
    )
    # Sinusoids, fixed where OpenAI and transformers build the encoder.
    fixed_prefixes: ClassVar[tuple[str, ...]] = ("encoder.embed_positions.", "embed_positions.")
    contexts: ClassVar[tuple[str, ...]] = get_args(Context)
    style: ClassVar[str] = "pre-norm layers"

    @property
    def front_end_input(self) -> str:
        """What the front end is given, for `speechft inspect`."""
        return f"log-mel spectrogram; context: {self.context}"

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Tell whether a model has Whisper's encoder, or is it."""
        encoder = getattr(model, "encoder", model)
        return all(hasattr(encoder, n) for n in ("conv1", "conv2", "embed_positions", "layers"))

    @property
    def _own(self) -> Any:
        return getattr(self.model, "encoder", self.model)

    def whole_layers(self) -> list[nn.Module]:
        """Give the layers, each computed by calling it."""
        return list(self._own.layers)

    @property
    def _longest(self) -> int:
        return int(self.config.max_source_positions)

    @property
    def front_end_by_frames(self) -> bool:
        """Whether the front end gives as many rows as there are frames, and not 30 s of them."""
        return self.context == "utterance"

    @property
    def least_seconds(self) -> float:
        """What padding costs."""
        return 0.0 if self.front_end_by_frames else self._longest * self.hop / SAMPLE_RATE

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return SHIFT * int(self._own.conv2.stride[0])

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Give the number of frames (B,) that utterances of `lengths` samples (B,) reach into."""
        return torch.where(lengths < FRAME, 0, (lengths + self.hop - 1) // self.hop)

    def encoder_parameters(self) -> dict[str, Parameter]:
        """Give the parameters behind the front end; the decoder's are not among them."""
        return {
            name: parameter
            for name, parameter in super().encoder_parameters().items()
            if not name.startswith("decoder.")
        }

    def refuse_long(self, lengths: Tensor, name: Callable[[int], str]) -> None:
        """Refuse utterances that reach into more frames than there are positions."""
        frames, longest = self.frame_lengths(lengths), self._longest
        if len(frames) and int(frames.max()) > longest:
            raise DataError(
                "an utterance is longer than Whisper's encoder takes",
                where=name(int(frames.argmax())),
                found=f"{int(lengths.max()) / SAMPLE_RATE:.1f} s",
                expected=f"at most {longest * self.hop / SAMPLE_RATE:.1f} s",
                hint="cut the data into shorter utterances",
            )

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Give the convolutions' output (B, T, D) over the context, and frames (B,)."""
        from transformers import WhisperFeatureExtractor

        encoder, longest = self._own, self._longest
        self.refuse_long(lengths, lambda n: f"utterance {n} of the batch")
        frames = self.frame_lengths(lengths)
        extractor = WhisperFeatureExtractor.from_dict(dict(self.preprocessor))
        samples = [w[:n].cpu().numpy() for w, n in zip(waveforms, lengths.tolist(), strict=True)]
        # Two frames of silence behind the longest utterance: as much of what is padded as the
        # spectrogram's windows and the convolutions see from its last frame.
        rows = min(int(frames.max()) + 2, longest) if self.front_end_by_frames else longest
        with torch.autocast("cpu", enabled=False):  # where the extractor computes
            mel = extractor(
                samples, sampling_rate=SAMPLE_RATE, max_length=rows * self.hop, return_tensors="pt"
            )["input_features"].to(self.device)
        hidden = nn.functional.gelu(encoder.conv1(mel))
        hidden = nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        return hidden[:, : int(frames.max())] if self.front_end_by_frames else hidden, frames

    def from_front_end(
        self, features: Tensor, frame_lengths: Tensor, *, mask_time: Tensor | None = None
    ) -> EncoderOutput:
        """Add positions and apply the transformer; the states end with the longest utterance."""
        encoder = self._own
        if mask_time is not None:
            self._mask_embedding()
        size, keep = features.shape[1], None
        if self.front_end_by_frames and bool((frame_lengths < size).any()):
            keep = ~padding_mask(frame_lengths, size)[:, None, None]
        hidden = features.float() + encoder.embed_positions.weight[:size]
        hidden = nn.functional.dropout(hidden, encoder.dropout, self.training)
        states = [hidden]
        for layer in encoder.layers:
            output = layer(hidden, keep)
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
