"""The CNN front end of the wav2vec 2.0 family, with group-norm statistics free of padding.

The first convolution is linear in the waveform, so the mean and variance that its group norm needs
follow from the mean and covariance of the waveform's windows (10 numbers and 10 × 10 numbers).
They are taken over valid windows only, in float64, and the norm is folded into the convolution's
weight: exact, independent of padding, and one pass over the largest activation less.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from speechft.core.lengths import conv_lengths, padding_mask

NORMALIZE_EPS = 1e-7


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


def conv_front_end(layers: Iterable[Any], waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Apply a stack of transformers convolution layers.

    Args:
        layers: `feature_extractor.conv_layers` of a wav2vec 2.0 style model.
        waveforms: zero-padded batch (B, S).
        lengths: valid samples (B,).

    Returns:
        Features (B, T, C).
    """
    hidden = waveforms[:, None]
    for layer in layers:
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            hidden = _conv_and_group_norm(layer.conv, norm, hidden, lengths)
        elif norm is None:
            hidden = layer.conv(hidden)
        else:
            hidden = norm(layer.conv(hidden).transpose(1, 2)).transpose(1, 2)
        hidden = _activate(layer.activation, hidden)
    return hidden.transpose(1, 2)


def _activate(activation: nn.Module, hidden: Tensor) -> Tensor:
    """Apply the activation; in place where no gradient is asked for, to save memory traffic."""
    exact_gelu = type(activation).__name__ == "GELUActivation"
    if exact_gelu and not hidden.requires_grad and hidden.device.type == "cpu":
        result: Tensor = torch.ops.aten.gelu_(hidden)
        return result
    output: Tensor = activation(hidden)
    return output


def _conv_and_group_norm(
    conv: nn.Conv1d, norm: nn.GroupNorm, hidden: Tensor, lengths: Tensor
) -> Tensor:
    """Apply the first convolution (B, 1, S) → (B, C, T) and a norm per channel over valid frames.

    The convolution runs in float32 even under autocast: it is cheap, and half precision would
    cut the waveform itself to 8 bits.
    """
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    with torch.autocast(hidden.device.type, enabled=False):
        windows = hidden[:, 0].unfold(-1, kernel, stride)
        weight = conv.weight.float()[:, 0]
        scale, shift = _folded_norm(
            weight, norm, windows, conv_lengths(lengths, [kernel], [stride])
        )
        if conv.bias is not None:
            # The norm removes the bias; it stays in the graph so that no parameter is unused.
            shift = shift + 0.0 * conv.bias.float()
        folded = weight[None] * scale[..., None]
        columns = windows.transpose(1, 2).contiguous()
        result = torch.baddbmm(shift[..., None], folded, columns)
    if torch.is_autocast_enabled(hidden.device.type):
        return result.to(torch.get_autocast_dtype(hidden.device.type))
    return result


def _folded_norm(
    weight: Tensor, norm: nn.GroupNorm, windows: Tensor, frames: Tensor
) -> tuple[Tensor, Tensor]:
    """Give scale and shift (B, C) of the group norm from the windows' mean and covariance."""
    exact = torch.float32 if windows.device.type == "mps" else torch.float64
    valid = windows.to(exact, memory_format=torch.contiguous_format)
    padded = padding_mask(frames, windows.shape[1])
    if bool(padded.any()):
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
