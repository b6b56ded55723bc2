"""The positional convolution of the wav2vec 2.0 family, made for processors.

Its kernels are 64 to 128 frames long and see groups of few channels, for which processors have no
fast direct way. In float32, blocks through the Fourier transform take a third of the time; in
bfloat16, products of each group's windows with its taps take half of it with gradients. On
processors with matrix units oneDNN's own convolution takes a fifth of that, but (with torch 2.13)
gives wrong values where a group has fewer than 16 channels and the kernel's length is even, so
there all groups that narrow are products, too. Padded frames stay silent.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from speechft.core.devices import has_matrix_units
from speechft.encoders.layers import autocasts_to_bfloat16, plain_on_cpu

_LONG: Final = 32
"""Kernels from here on are worth the way through the spectrum."""
_FRAMES_PER_CHANNEL: Final = 2
"""Frames that a batch needs for that: the kernel's own transform must pay too."""
_WIDE: Final = 128
"""Groups of more channels have windows too large to be written down."""
_NARROW: Final = 16
"""Groups of fewer channels are not left to oneDNN on a processor with matrix units."""


def add_positions(module: Any, hidden: Tensor, frames: Tensor | None) -> Tensor:
    """Add a positional convolution module's output to (B, T, D).

    data2vec-audio stacks several convolutions, and some HuBERT models normalise the input of
    theirs: whatever a step leaves in padded frames is zeroed before the next one sees it.

    Args:
        module: transformers' positional convolution.
        hidden: (B, T, D), zero where padded.
        frames: (B, T, 1), True where valid; None when nothing is padded.
    """
    steps = getattr(module, "layers", None)
    result = hidden.transpose(1, 2)
    keep = None if frames is None else frames.transpose(1, 2)
    if steps is None:
        if getattr(module, "batch_norm", None) is not None:
            result = module.batch_norm(result)
            result = result if keep is None else result * keep
        result = module.activation(module.padding(_convolved(module.conv, result)))
    else:
        for step in steps:
            result = step(result)
            result = result if keep is None else result * keep
    return hidden + result.transpose(1, 2)


def _convolved(conv: Any, hidden: Tensor) -> Tensor:
    if _through_spectrum(conv, hidden):
        same = spectral_convolution(hidden, conv.weight, conv.bias, conv.groups)
        return F.pad(same, (0, 1 - conv.kernel_size[0] % 2))  # the frame that `padding` cuts off
    if not _by_windows(conv, hidden):
        output: Tensor = conv(hidden)
        return output
    weight, bias = (None if t is None else t.bfloat16() for t in (conv.weight, conv.bias))
    output = _Products.apply(hidden.bfloat16(), weight, conv.padding[0], conv.groups)  # type: ignore[no-untyped-call]
    return output if bias is None else output + bias[:, None]


def _is_centred(conv: Any) -> bool:
    plain = conv.stride[0] == conv.dilation[0] == 1 and conv.padding_mode == "zeros"
    return plain and bool(conv.padding[0] == conv.kernel_size[0] // 2)


def _through_spectrum(conv: Any, hidden: Tensor) -> bool:
    return (
        _is_centred(conv)
        and plain_on_cpu(hidden, conv.weight)
        and conv.kernel_size[0] >= _LONG
        and hidden.shape[0] * hidden.shape[2] >= _FRAMES_PER_CHANNEL * hidden.shape[1]
    )


def _by_windows(conv: Any, hidden: Tensor) -> bool:
    half = autocasts_to_bfloat16()
    return (
        _is_centred(conv)
        and hidden.device.type == "cpu"
        and (half or conv.weight.dtype == torch.bfloat16)
        and conv.in_channels <= (_NARROW - 1 if has_matrix_units() else _WIDE) * conv.groups
    )


class _Products(torch.autograd.Function):
    """Convolution of (B, C, T) with taps (C', C / groups, K), group by group."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, padding: int, groups: int) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.padding, ctx.groups = padding, groups
        return _by_products(hidden, weight, padding, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden, weight = ctx.saved_tensors
        groups, kernel = ctx.groups, weight.shape[-1]
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        of_hidden = of_weight = None
        if wants_hidden:
            by_group = weight.view(groups, -1, *weight.shape[1:]).transpose(1, 2).flip(-1)
            turned = by_group.reshape(hidden.shape[1], -1, kernel)
            of_hidden = _by_products(gradient, turned, kernel - 1 - ctx.padding, groups)
        if wants_weight:
            rows = _by_group(gradient, groups, 0).flatten(2)
            padded = _by_group(hidden, groups, ctx.padding)
            found = [_windows(p, kernel) @ r.t() for p, r in zip(padded, rows, strict=True)]
            of_weight = torch.stack(found).transpose(1, 2).reshape(weight.shape)
        return of_hidden, of_weight, None, None


def _by_products(hidden: Tensor, weight: Tensor, padding: int, groups: int) -> Tensor:
    padded = _by_group(hidden, groups, padding)
    taps = weight.reshape(groups, weight.shape[0] // groups, -1)
    found = [t @ _windows(p, weight.shape[-1]) for p, t in zip(padded, taps, strict=True)]
    by_group = torch.stack(found).view(*taps.shape[:2], len(hidden), -1)
    return by_group.permute(2, 0, 1, 3).flatten(1, 2)


def _by_group(hidden: Tensor, groups: int, padding: int) -> Tensor:
    """Give (groups, C / groups, B, T + 2 padding) of (B, C, T)."""
    batch, width, frames = hidden.shape
    padded = F.pad(hidden, (padding, padding))
    by_group = padded.view(batch, groups, width // groups, frames + 2 * padding)
    return by_group.permute(1, 2, 0, 3).contiguous()


def _windows(padded: Tensor, kernel: int) -> Tensor:
    """Give all windows (C · K, B · T') of (C, B, T' + K − 1)."""
    frames = padded.shape[-1] - kernel + 1
    return padded.unfold(-1, frames, 1).transpose(1, 2).flatten(2).flatten(0, 1)


def spectral_convolution(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, groups: int = 1
) -> Tensor:
    """Convolve (B, C, T) with K taps centred on each frame: `conv1d` with padding K // 2, T frames.

    Overlapping blocks of 4 K frames are multiplied with the kernel in the frequency domain; of each
    the 3 K + 1 frames that no wrap-around has reached are kept (overlap-save; Oppenheim and
    Schafer, Discrete-Time Signal Processing, section 8.7.3).

    Args:
        hidden: input (B, C, T).
        weight: taps (C', C / groups, K).
        bias: (C',), if any.
        groups: of channels.

    Returns:
        (B, C', T), within rounding of the direct result.
    """
    batch, _, frames = hidden.shape
    width, own, kernel = weight.shape
    size, fresh = 4 * kernel, 3 * kernel + 1
    blocks = -(-frames // fresh)
    before = kernel // 2
    after = (blocks - 1) * fresh + size - before - frames
    heard = torch.fft.rfft(F.pad(hidden, (before, after)).unfold(-1, size, fresh))
    taps = torch.fft.rfft(weight, n=size).conj()
    bins = heard.shape[-1]
    by_bin = heard.view(batch, groups, own, blocks, bins).permute(1, 4, 0, 3, 2)
    mix = taps.view(groups, width // groups, own, bins).permute(0, 3, 2, 1)
    mixed = torch.bmm(
        by_bin.reshape(groups * bins, batch * blocks, own),
        mix.reshape(groups * bins, own, width // groups),
    )
    spectrum = mixed.view(groups, bins, batch, blocks, -1).permute(2, 0, 4, 3, 1)
    pieces = torch.fft.irfft(spectrum, n=size)[..., :fresh]
    result: Tensor = pieces.reshape(batch, width, blocks * fresh)[..., :frames]
    return result if bias is None else result + bias[:, None]
