"""Kaldi's log mel filter banks in torch, as DeCoAR 2.0's front end uses them.

Source: Kaldi's `compute-fbank-feats`; settings as in S3PRL 0.4.18, `upstream/decoar2`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from speechft.core.lengths import SAMPLE_RATE

FRAME, SHIFT, FFT, BINS = 400, 160, 512, 80
PRE_EMPHASIS = 0.97
LOW_HZ, HIGH_HZ = 20.0, 8000.0
FLOOR = 1.1920928955078125e-07


def log_mel_filter_bank(waveforms: Tensor) -> Tensor:
    """Give log mel energies (B, N, 80) of waveforms (B, S) at 16 kHz, N = 1 + (S − 400) // 160.

    Windows of 25 ms every 10 ms, offset removed, pre-emphasis 0.97, symmetric Hamming window,
    power spectrum of 512 points, 80 triangles from 20 Hz to 8 kHz, natural logarithm.
    """
    frames = waveforms.unfold(-1, FRAME, SHIFT)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    previous = F.pad(frames, (1, 0), mode="replicate")[..., :-1]
    window = torch.hamming_window(
        FRAME, periodic=False, dtype=waveforms.dtype, device=waveforms.device
    )
    spectrum = torch.fft.rfft((frames - PRE_EMPHASIS * previous) * window, n=FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    energies = power @ _triangles().to(power).T
    logarithms: Tensor = energies.clamp(min=FLOOR).log()
    return logarithms


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
