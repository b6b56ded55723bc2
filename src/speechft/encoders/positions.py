"""Positional convolutions: padded frames stay silent, and long kernels go through the spectrum.

These convolutions have kernels of 64 to 128 frames in groups of few channels, for which processors
have no fast direct way. In blocks through the Fourier transform they take a third of the time.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

_LONG: Final = 32
"""Kernels from here on are worth the way through the spectrum."""
_NARROW: Final = 16
"""Groups of fewer channels are convolved in the weights' own type on a CPU.

In bfloat16, on Intel's processors with AMX, oneDNN (with torch 2.13) gives wrong values for them
where the kernel's length is even; groups of 16 channels and more, such as all Base and Large
encoders have, are right.
"""
_FRAMES_PER_CHANNEL: Final = 2
"""Frames that a batch needs for that: the kernel's own transform must pay too."""


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
    if not _through_spectrum(conv, hidden):
        exact = hidden.device.type == "cpu" and conv.in_channels // conv.groups < _NARROW
        with torch.autocast("cpu", enabled=False) if exact else nullcontext():
            output: Tensor = conv(hidden.to(conv.weight.dtype) if exact else hidden)
        return output
    same = spectral_convolution(hidden, conv.weight, conv.bias, conv.groups)
    return F.pad(same, (0, 1 - conv.kernel_size[0] % 2))  # the frame that `padding` cuts off


def _through_spectrum(conv: Any, hidden: Tensor) -> bool:
    kernel = conv.kernel_size[0]
    return (
        hidden.device.type == "cpu"
        and hidden.dtype == conv.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and kernel >= _LONG
        and conv.stride[0] == conv.dilation[0] == 1
        and conv.padding[0] == kernel // 2
        and conv.padding_mode == "zeros"
        and hidden.shape[0] * hidden.shape[2] >= _FRAMES_PER_CHANNEL * hidden.shape[1]
    )


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
