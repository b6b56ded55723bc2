"""The wav2vec 2.0 family: a CNN front end on the waveform, a positional convolution, a transformer.

HuBERT, wav2vec 2.0 (XLS-R, MMS), WavLM, data2vec-audio, UniSpeech and UniSpeech-SAT share this
shape. They are recognised by the modules they have, not by their class.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from speechft.core.lengths import conv_lengths
from speechft.encoders.attention import key_mask, wavlm_layer, wavlm_position_bias
from speechft.encoders.base import EncoderOutput, SpeechEncoder
from speechft.encoders.frontend import NORMALIZE_EPS, conv_front_end, normalize_waveforms
from speechft.encoders.positions import add_positions


class TransformerEncoder(SpeechEncoder):
    """What the wav2vec 2.0 family and DeCoAR 2.0 share: all that follows the projection."""

    @property
    def pre_norm(self) -> bool:
        """Whether layers normalise their input (large models) rather than their output."""
        return bool(getattr(self.config, "do_stable_layer_norm", False))

    def transform(
        self, hidden: Tensor, frame_lengths: Tensor, mask_time: Tensor | None
    ) -> EncoderOutput:
        """Apply masking, positional convolution and transformer to projected features (B, T, D)."""
        hidden = hidden.float() if hidden.dtype in (torch.float16, torch.bfloat16) else hidden
        if mask_time is not None:
            embedding = self._mask_embedding().to(hidden.dtype)
            hidden = torch.where(mask_time[..., None], embedding, hidden)
        keep = key_mask(frame_lengths, hidden.shape[1])
        hidden = self._add_positions(hidden, keep)
        return EncoderOutput(self._layers(hidden, keep), frame_lengths)

    def _add_positions(self, hidden: Tensor, keep: Tensor | None) -> Tensor:
        """Add the positional convolution, which must see zeros where frames are padded."""
        encoder = self.model.encoder
        frames = None if keep is None else keep[:, 0, 0, :, None]
        if frames is not None:
            hidden = hidden * frames
        hidden = add_positions(encoder.pos_conv_embed, hidden, frames)
        if not self.pre_norm:
            hidden = encoder.layer_norm(hidden)
        output: Tensor = encoder.dropout(hidden)
        return output

    def _layers(self, hidden: Tensor, keep: Tensor | None) -> tuple[Tensor, ...]:
        encoder = self.model.encoder
        states = [hidden]
        gated = hasattr(encoder.layers[0].attention, "gru_rel_pos_const")
        bias = wavlm_position_bias(encoder.layers[0].attention, hidden.shape[1]) if gated else None
        for layer in encoder.layers:
            if bias is not None:
                hidden = wavlm_layer(layer, hidden, bias, keep, pre_norm=self.pre_norm)
            else:
                hidden = _first(layer(hidden, attention_mask=keep))
            states.append(hidden)
        if self.pre_norm:
            states[-1] = encoder.layer_norm(hidden)
        return tuple(states)


class ConvolutionalEncoder(TransformerEncoder):
    """An encoder of the wav2vec 2.0 family.

    State 0 is the transformer's input: projection plus positional convolution, and the encoder's
    layer norm for post-norm models. The last state of a pre-norm model is behind its final norm.
    """

    @staticmethod
    def fits(model: nn.Module) -> bool:
        """Tell whether a model has this family's modules."""
        encoder = getattr(model, "encoder", None)
        layers = getattr(encoder, "layers", None) or [None]
        return (
            hasattr(getattr(model, "feature_extractor", None), "conv_layers")
            and hasattr(getattr(model, "feature_projection", None), "projection")
            and all(hasattr(encoder, name) for name in ("pos_conv_embed", "layers", "layer_norm"))
            and hasattr(getattr(layers[0], "attention", None), "k_proj")
        )

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return prod(self.config.conv_stride)

    @property
    def style(self) -> str:
        """Where it normalises, and after which published models that is called."""
        each = getattr(self.config, "feat_extract_norm", "layer") == "layer"
        size = "large: " if each and self.pre_norm else "" if each or self.pre_norm else "base: "
        norm = "layer norm in every convolution" if each else "group norm in the first convolution"
        return f"{size}{norm}, {'pre' if self.pre_norm else 'post'}-norm layers"

    @property
    def front_end_input(self) -> str:
        """What the front end is given."""
        return "waveform, normalised per utterance" if self.normalize else "waveform as it is"

    @property
    def normalize(self) -> bool:
        """Whether every waveform is brought to zero mean and unit variance first."""
        return bool(self.preprocessor.get("do_normalize", False))

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Give the exact number of frames (B,) of utterances of `lengths` samples (B,)."""
        return conv_lengths(lengths, self.config.conv_kernel, self.config.conv_stride)

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Apply input normalisation and the CNN front end: features (B, T, C), frames (B,)."""
        if self.normalize:
            eps = float(self.preprocessor.get("normalize_eps", NORMALIZE_EPS))
            waveforms = normalize_waveforms(waveforms, lengths, eps)
        layers = self.model.feature_extractor.conv_layers
        return conv_front_end(layers, waveforms, lengths), self.frame_lengths(lengths)

    def from_front_end(
        self, features: Tensor, frame_lengths: Tensor, *, mask_time: Tensor | None = None
    ) -> EncoderOutput:
        """Apply feature projection, positional convolution and transformer."""
        projected = self.model.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        return self.transform(hidden, frame_lengths, mask_time)


def _first(output: Any) -> Tensor:
    result: Tensor = output[0] if isinstance(output, tuple) else output
    return result
