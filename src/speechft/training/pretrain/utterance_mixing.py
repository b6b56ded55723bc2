"""Utterance mixing: a part of another utterance, or noise, over a share of a batch's utterances.

The targets stay those of the main speaker, so that an encoder learns to tell speakers apart.
Source: WavLM (Chen et al. 2022), section IV-A and algorithm 1. Its noises are recordings; here
they are drawn, with a power of 1/f^b, b between 0 (white) and 2 (brown).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NOISE_SHARE = 0.1  # WavLM's p_n
# Energy of the main utterance over that of what is added, in dB.
SPEECH_DB, NOISE_DB = (-5.0, 5.0), (-5.0, 20.0)


def mix_utterances(
    waveforms: Sequence[Tensor],
    share: float,
    generator: torch.Generator,
    noise_share: float = NOISE_SHARE,
) -> list[Tensor]:
    """Mix a share of the utterances of a batch, each with another one or with noise.

    What is added covers less than half of the main utterance, anywhere in it. A batch of one
    utterance has no other, so it gets noise.

    Args:
        waveforms: 1-D waveforms; they are left as they are.
        share: chance of an utterance to be mixed (0.2 in WavLM).
        generator: the only source of chance: the same state gives the same mixtures.
        noise_share: chance that a mixed utterance gets noise instead of speech.

    Returns:
        Waveforms of the same lengths; those that are not mixed are the same tensors.
    """
    mixed = torch.rand(len(waveforms), generator=generator) < share
    result = list(waveforms)
    for index in mixed.nonzero().flatten().tolist():
        noisy = len(waveforms) == 1 or _uniform(0, 1, generator) < noise_share
        if noisy:
            second = _noise(len(waveforms[index]), generator)
        else:
            step = _integer(1, len(waveforms), generator)
            second = waveforms[(index + step) % len(waveforms)]
        ratio = _uniform(*(NOISE_DB if noisy else SPEECH_DB), generator)
        result[index] = _add_part(waveforms[index], second, ratio, generator)
    return result


def _add_part(main: Tensor, second: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
    """Add a random part of `second`, its level `ratio` dB below the main utterance's, to `main`."""
    longest = min((len(main) - 1) // 2, len(second))
    if longest < 1:
        return main
    length = _integer(1, longest + 1, generator)
    place = _integer(0, len(main) - length + 1, generator)
    start = _integer(0, len(second) - length + 1, generator)
    energy = float(second.square().mean())
    if energy == 0:
        return main
    scale = (float(main.square().mean()) / energy * 10 ** (-ratio / 10)) ** 0.5
    result = main.clone()
    result[place : place + length] += scale * second[start : start + length]
    return result


def _noise(length: int, generator: torch.Generator) -> Tensor:
    """Give noise (length,) whose power falls with a random power of the frequency."""
    slope = _uniform(0, 2, generator)
    spectrum = torch.fft.rfft(torch.randn(length, generator=generator))
    frequency = torch.arange(len(spectrum)).clamp(min=max(1, length // 400))  # flat below 40 Hz
    noise: Tensor = torch.fft.irfft(spectrum * frequency ** (-slope / 2), n=length)
    return noise


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _integer(low: int, high: int, generator: torch.Generator) -> int:
    """Draw from low, …, high − 1."""
    return int(torch.randint(low, high, (), generator=generator))
