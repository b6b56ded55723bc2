"""w2v-BERT 2.0: conformer layers on filter banks.

Chung et al. 2021, "w2v-BERT: Combining Contrastive Learning and Masked Language Modeling for
Self-Supervised Speech Pre-Training"; filter banks by transformers' own feature extractor, with the
settings of `preprocessor_config.json`, one utterance at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechft.core.lengths import SAMPLE_RATE, conv_lengths, padding_mask
from speechft.encoders.base import EncoderOutput, SpeechEncoder
from speechft.encoders.family import Family, register

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
    style: ClassVar[str] = "conformer layers, pre-norm"
    front_end_input: ClassVar[str] = "stacked log filter banks, normalised per utterance and bin"

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

    def whole_layers(self) -> list[nn.Module]:
        """Give the layers, each computed by calling it."""
        return list(self.model.encoder.layers)

    def from_front_end(
        self, features: Tensor, frame_lengths: Tensor, *, mask_time: Tensor | None = None
    ) -> EncoderOutput:
        """Apply the projection and the conformer layers."""
        hidden = self.mask(self.model.feature_projection(features)[0].float(), mask_time)
        keep = ~padding_mask(frame_lengths, hidden.shape[1])
        with _inputs_of(self.model.encoder.layers) as states:
            last = self.model.encoder(hidden, attention_mask=keep.long()).last_hidden_state
        return EncoderOutput((*states, last), frame_lengths)


def _preprocessor(config: Any) -> dict[str, Any]:
    bins = config.feature_projection_input_dim // 2
    kind = {"feature_extractor_type": "SeamlessM4TFeatureExtractor"}
    return {**kind, "feature_size": bins, "num_mel_bins": bins, "stride": 2}


register(
    Family(
        "wav2vec2-bert",
        ConformerEncoder,
        preprocessor=_preprocessor,
        adapters={
            "attention": ("linear_q", "linear_k", "linear_v", "linear_out"),
            "query-value": ("linear_q", "linear_v"),
        },
    )
)
