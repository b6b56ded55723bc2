"""Kaldi's log mel filter banks in torch, as DeCoAR 2.0 and SUPERB's zero point use them.

Source: Kaldi's `compute-fbank-feats`; settings as in S3PRL 0.4.18, `upstream/decoar2` and
`upstream/baseline`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from speechft.core.lengths import SAMPLE_RATE, padding_mask

Window = Literal["hamming", "povey"]
FRAME, SHIFT, FFT, BINS = 400, 160, 512, 80
PRE_EMPHASIS = 0.97
LOW_HZ, HIGH_HZ = 20.0, 8000.0
CMVN_EPS = 1e-10
FLOOR = 1.1920928955078125e-07


def log_mel_filter_bank(waveforms: Tensor, window: Window = "hamming") -> Tensor:
    """Give log mel energies (B, N, 80) of waveforms (B, S) at 16 kHz, N = 1 + (S − 400) // 160.

    Windows of 25 ms every 10 ms, offset removed, pre-emphasis 0.97, a symmetric window (Hamming, or
    Povey: Hann to the power of 0.85), power spectrum of 512 points, 80 triangles from 20 Hz to
    8 kHz, natural logarithm.
    """
    frames = waveforms.unfold(-1, FRAME, SHIFT)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    previous = F.pad(frames, (1, 0), mode="replicate")[..., :-1]
    make = torch.hamming_window if window == "hamming" else torch.hann_window
    shape = make(FRAME, periodic=False, dtype=waveforms.dtype, device=waveforms.device)
    shape = shape if window == "hamming" else shape**0.85
    spectrum = torch.fft.rfft((frames - PRE_EMPHASIS * previous) * shape, n=FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    energies = power @ _triangles().to(power).T
    logarithms: Tensor = energies.clamp(min=FLOOR).log()
    return logarithms


def normalised(features: Tensor, frames: Tensor) -> Tensor:
    """Bring every dimension of features (B, T, C) to mean 0 and variance 1 per utterance.

    Args:
        features: of no meaning behind an utterance's frames; zero there afterwards.
        frames: valid frames (B,).
    """
    keep = ~padding_mask(frames, features.shape[1])[..., None]
    count = frames[:, None, None]
    mean = (features * keep).sum(dim=1, keepdim=True) / count
    centred = (features - mean) * keep
    variance = centred.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)
    return centred / (CMVN_EPS + variance.sqrt())


def differences(features: Tensor, frames: Tensor) -> Tensor:
    """Give the slope over five frames of features (B, T, C); an utterance's ends are repeated."""
    size = features.shape[1]
    inside = torch.arange(size, device=frames.device)[None].minimum(frames[:, None] - 1)
    within = features.gather(1, inside[..., None].expand_as(features))
    windows = F.pad(within.transpose(1, 2), (2, 2), mode="replicate").unfold(-1, 5, 1)
    weights = torch.arange(-2.0, 3.0, device=features.device, dtype=features.dtype) / 10
    return (windows @ weights).transpose(1, 2)


@lru_cache(maxsize=1)
def _triangles() -> Tensor:
    """Give the filters (80, 257): triangles on the mel scale; the Nyquist bin belongs to none."""
    low, high = _mel(LOW_HZ), _mel(HIGH_HZ)
    edges = low + torch.arange(BINS + 2, dtype=torch.float64) * (high - low) / (BINS + 1)
    hertz = torch.arange(FFT // 2, dtype=torch.float64) * SAMPLE_RATE / FFT
    mels = 1127.0 * torch.log1p(hertz / 700.0)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (mels - left) / (centre - left)
    falling = (right - mels) / (right - centre)
    return F.pad(torch.minimum(rising, falling).clamp(min=0.0), (0, 1)).float()


def _mel(hertz: float) -> float:
    return 1127.0 * math.log1p(hertz / 700.0)
