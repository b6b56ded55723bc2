"""Encoders on filter banks: w2v-BERT 2.0 and Whisper's encoder.

Their filter banks come from transformers' own feature extractors, with the settings of
`preprocessor_config.json`, one utterance at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils.rnn import pad_sequence

from speechft.core.errors import DataError
from speechft.core.lengths import conv_lengths, padding_mask
from speechft.encoders.base import SAMPLE_RATE, EncoderOutput, SpeechEncoder

FRAME, SHIFT = 400, 160


@contextmanager
def _inputs_of(layers: nn.ModuleList) -> Iterator[list[Tensor]]:
    """Collect what enters each layer while the block runs."""
    states: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])

    handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


class ConformerEncoder(SpeechEncoder):
    """w2v-BERT 2.0: two filter-bank frames stacked, a projection, conformer layers.

    It has no CNN front end. State 0 is the first layer's input: the projected frames.
    """

    front_end_prefixes: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Tell whether a model is a conformer on stacked filter banks."""
        layers = getattr(getattr(model, "encoder", None), "layers", None)
        return (
            hasattr(model, "feature_projection")
            and not hasattr(model, "feature_extractor")
            and layers is not None
            and hasattr(layers[0], "conv_module")
        )

    @property
    def stride(self) -> int:
        """Filter-bank frames per encoder frame."""
        return int(self.preprocessor.get("stride", 2))

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return SHIFT * self.stride

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Give the exact number of frames (B,) of utterances of `lengths` samples (B,)."""
        return conv_lengths(lengths, [FRAME], [SHIFT]) // self.stride

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Give stacked, normalised filter banks (B, T, 160) and frames (B,)."""
        from transformers import SeamlessM4TFeatureExtractor

        extractor = SeamlessM4TFeatureExtractor.from_dict(dict(self.preprocessor))
        features = [
            extractor(
                waveform[:length].cpu().numpy(),
                sampling_rate=SAMPLE_RATE,
                pad_to_multiple_of=None,
                return_tensors="pt",
            )["input_features"][0]
            for waveform, length in zip(waveforms, lengths.tolist(), strict=True)
        ]
        batch = pad_sequence(features, batch_first=True).to(self.device, torch.float32)
        return batch, self.frame_lengths(lengths)

    def from_front_end(
        self, features: Tensor, frame_lengths: Tensor, *, mask_time: Tensor | None = None
    ) -> EncoderOutput:
        """Apply the projection and the conformer layers."""
        hidden = self.model.feature_projection(features)[0].float()
        if mask_time is not None:
            embedding = self._mask_embedding().to(hidden.dtype)
            hidden = torch.where(mask_time[..., None], embedding, hidden)
        keep = ~padding_mask(frame_lengths, hidden.shape[1])
        with _inputs_of(self.model.encoder.layers) as states:
            last = self.model.encoder(hidden, attention_mask=keep.long()).last_hidden_state
        return EncoderOutput((*states, last), frame_lengths)


class WhisperEncoder(SpeechEncoder):
    """Whisper's encoder. Its CNN front end is the two convolutions on the mel spectrogram.

    Every utterance is padded to the 30 s that Whisper is trained on, so nothing depends on the
    batch; frames behind the utterance's end are cut off. State 0 is the first layer's input:
    convolutions plus positions. The last state is behind the final layer norm. The decoder is kept
    in the checkpoint but takes no part.
    """

    front_end_prefixes: ClassVar[tuple[str, ...]] = ("encoder.conv1.", "encoder.conv2.")
    front_end_by_frames: ClassVar[bool] = False  # always 30 s

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
            samples,
            sampling_rate=SAMPLE_RATE,
            max_length=longest * self.hop,
            return_tensors="pt",
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
