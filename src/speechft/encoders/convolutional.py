"""The wav2vec 2.0 family: a CNN front end on the waveform, a positional convolution, a transformer.

HuBERT, wav2vec 2.0 (XLS-R, MMS), WavLM, data2vec-audio, UniSpeech and UniSpeech-SAT share this
shape. They are recognised by the modules they have, not by their class.

In the front end, group-norm statistics are free of padding. The first convolution is linear in the
waveform, so the mean and variance that its group norm needs follow from the mean and covariance of
the waveform's windows (10 numbers and 10 × 10 numbers). They are taken over valid windows only, in
float64, and the norm is folded into the convolution's weight: exact, independent of padding, and
one pass over the largest activation less.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechft.core.lengths import conv_length, conv_lengths, padding_mask
from speechft.encoders.base import EncoderOutput, SpeechEncoder
from speechft.encoders.layers import key_mask
from speechft.encoders.positions import add_positions
from speechft.encoders.wavlm_attention import wavlm_layer, wavlm_position_bias

Norm = tuple[Tensor, Tensor] | None
Weights = list[tuple[Tensor, Tensor | None]]
NORMALIZE_EPS = 1e-7
PIECE = 64
"""Frames that the front end computes at a time where no gradient is asked for."""


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
        keep = key_mask(frame_lengths, hidden.shape[1])
        hidden = self._add_positions(self.mask(hidden, mask_time), keep)
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

    def whole_layers(self) -> list[nn.Module]:
        """Give the layers, but for WavLM, whose attention is computed past its own forward."""
        layers = self.model.encoder.layers
        return [] if hasattr(layers[0].attention, "gru_rel_pos_const") else list(layers)

    def _layers(self, hidden: Tensor, keep: Tensor | None) -> tuple[Tensor, ...]:
        encoder = self.model.encoder
        states = [hidden]
        gated = hasattr(encoder.layers[0].attention, "gru_rel_pos_const")
        bias = wavlm_position_bias(encoder.layers[0].attention, hidden.shape[1]) if gated else None
        for layer in encoder.layers:
            if bias is not None:
                parts = (layer, hidden, bias, keep, self.pre_norm)
                again = layer.gradient_checkpointing and layer.training
                if again:  # this goes past the layer's own forward, which would know
                    hidden = layer._gradient_checkpointing_func(wavlm_layer, *parts)
                else:
                    hidden = wavlm_layer(*parts)
            else:
                output = layer(hidden, attention_mask=keep)
                hidden = output[0] if isinstance(output, tuple) else output
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


def normalize_waveforms(waveforms: Tensor, lengths: Tensor, eps: float) -> Tensor:
    """Give every utterance zero mean and unit variance over its valid samples.

    Args:
        waveforms: zero-padded batch (B, S).
        lengths: valid samples (B,).
        eps: added to the variance (1e-7 in transformers, 1e-5 in fairseq).

    Returns:
        The batch (B, S), zero where padded.
    """
    keep = ~padding_mask(lengths, waveforms.shape[1])
    count = lengths.clamp(min=1)[:, None]
    mean = (waveforms * keep).sum(dim=1, keepdim=True) / count
    centred = (waveforms - mean) * keep
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return centred * torch.rsqrt(variance + eps)


def conv_front_end(layers: Sequence[Any], waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Apply a stack of transformers convolution layers.

    Where no gradient is asked for on a CPU, the stack runs over one second of one utterance at a
    time: the activations stay in the processor's cache, and padding costs nothing.

    Args:
        layers: `feature_extractor.conv_layers` of a wav2vec 2.0 style model.
        waveforms: zero-padded batch (B, S).
        lengths: valid samples (B,).

    Returns:
        Features (B, T, C), of no meaning where padded.
    """
    norm = _first_norm(layers, waveforms, lengths)
    weights_tracked = any(p.requires_grad for layer in layers for p in layer.parameters())
    tracked = torch.is_grad_enabled() and (waveforms.requires_grad or weights_tracked)
    if tracked or waveforms.device.type != "cpu":
        return _stack(layers, waveforms, norm, _weights(layers), in_place=False)
    with torch.no_grad():
        return _in_pieces(layers, waveforms, lengths, norm)


def _in_pieces(layers: Sequence[Any], waveforms: Tensor, lengths: Tensor, norm: Norm) -> Tensor:
    kernels = [int(layer.conv.kernel_size[0]) for layer in layers]
    strides = [int(layer.conv.stride[0]) for layer in layers]
    hop = prod(strides)
    field = 1 + sum((kernel - 1) * prod(strides[:i]) for i, kernel in enumerate(kernels))
    total = conv_length(waveforms.shape[1], kernels, strides)
    weights = _weights(layers)
    channels, dtype = weights[-1][0].shape[0], weights[-1][0].dtype
    features = torch.zeros(len(waveforms), total, channels, dtype=dtype)
    for item, length in enumerate(lengths.tolist()):
        frames = conv_length(length, kernels, strides)
        own = None if norm is None else (norm[0][item : item + 1], norm[1][item : item + 1])
        for start in range(0, frames, PIECE):
            end = min(start + PIECE, frames)
            piece = waveforms[item : item + 1, start * hop : (end - 1) * hop + field]
            features[item, start:end] = _stack(layers, piece, own, weights, in_place=True)[0]
    return features


def _stack(
    layers: Sequence[Any], waveforms: Tensor, norm: Norm, weights: Weights, *, in_place: bool
) -> Tensor:
    """Give features (B, T, C) of waveforms (B, S), all of whose samples are valid or not needed."""
    hidden = waveforms[:, None]
    for index, (layer, (weight, bias)) in enumerate(zip(layers, weights, strict=True)):
        layer_norm = getattr(layer, "layer_norm", None)
        if index == 0 and norm is not None:
            hidden = _normed_conv(layer.conv, norm, waveforms).to(weights[-1][0].dtype)
        else:
            with torch.autocast(hidden.device.type, enabled=False):
                hidden = F.conv1d(hidden.to(weight.dtype), weight, bias, layer.conv.stride)
            if layer_norm is not None:
                hidden = layer_norm(hidden.transpose(1, 2)).transpose(1, 2)
        hidden = _activate(layer.activation, hidden, in_place)
    return hidden.transpose(1, 2)


def _weights(layers: Sequence[Any]) -> Weights:
    """Give weight and bias of every convolution, in the type that autocast asks for.

    The first one stays as it is: it is cheap, and half precision would cut the waveform itself to
    8 bits.
    """
    convs = [layer.conv for layer in layers]
    dtype = convs[0].weight.dtype
    device = convs[0].weight.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    rest: Weights = [
        (c.weight.to(dtype), None if c.bias is None else c.bias.to(dtype)) for c in convs[1:]
    ]
    return [(convs[0].weight, convs[0].bias), *rest]


def _activate(activation: nn.Module, hidden: Tensor, in_place: bool) -> Tensor:
    """Apply the activation; in place where that is allowed, to save memory traffic."""
    if in_place and type(activation).__name__ == "GELUActivation":
        result: Tensor = torch.ops.aten.gelu_(hidden)
        return result
    output: Tensor = activation(hidden)
    return output


def _first_norm(layers: Sequence[Any], waveforms: Tensor, lengths: Tensor) -> Norm:
    """Give scale and shift (B, C) of the first layer's group norm; None if it has none."""
    norm, conv = getattr(layers[0], "layer_norm", None), layers[0].conv
    if not isinstance(norm, nn.GroupNorm):
        return None
    kernel, stride = int(conv.kernel_size[0]), int(conv.stride[0])
    windows = waveforms.unfold(-1, kernel, stride)
    with torch.autocast(waveforms.device.type, enabled=False):
        frames = conv_lengths(lengths, [kernel], [stride])
        scale, shift = _folded_norm(conv.weight.float()[:, 0], norm, windows, frames)
        if conv.bias is not None:
            # The norm removes the bias; it stays in the graph so that no parameter is unused.
            shift = shift + 0.0 * conv.bias.float()
    return scale, shift


def _normed_conv(conv: nn.Conv1d, norm: tuple[Tensor, Tensor], waveforms: Tensor) -> Tensor:
    """Apply the first convolution (B, S) → (B, C, T) with its group norm folded in, in float32."""
    scale, shift = norm
    with torch.autocast(waveforms.device.type, enabled=False):
        windows = waveforms.unfold(-1, conv.kernel_size[0], conv.stride[0])
        folded = conv.weight.float()[None, :, 0] * scale[..., None]
        return torch.baddbmm(shift[..., None], folded, windows.transpose(1, 2).contiguous())


def _folded_norm(
    weight: Tensor, norm: nn.GroupNorm, windows: Tensor, frames: Tensor
) -> tuple[Tensor, Tensor]:
    """Give scale and shift (B, C) of the group norm from the windows' mean and covariance."""
    exact = torch.float32 if windows.device.type == "mps" else torch.float64
    valid = windows.to(exact, memory_format=torch.contiguous_format)
    padded = padding_mask(frames, windows.shape[1])
    if windows.device.type != "cpu" or bool(padded.any()):  # a GPU would wait for the answer
        valid = valid.masked_fill_(padded[..., None], 0.0)
    count = frames[:, None].to(exact)
    mean = valid.sum(dim=1) / count
    products = valid.transpose(1, 2) @ valid / count[..., None]
    covariance = products - mean[:, :, None] * mean[:, None, :]
    kernel = weight.to(exact)
    variance = ((kernel @ covariance) * kernel).sum(dim=-1)
    scale = norm.weight.to(exact) * torch.rsqrt(variance.clamp(min=0) + norm.eps)
    shift = norm.bias.to(exact) - scale * (mean @ kernel.T)
    return scale.to(weight.dtype), shift.to(weight.dtype)
