"""Signal processing of the synthetic speech: voice colour, rooms and noise, all at 16 kHz."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray

from speechft.core.lengths import SAMPLE_RATE
from speechft.data.synthetic.espeak import SAMPLE_RATE as SPEECH_RATE
from speechft.data.synthetic.espeak import speak

Wave = NDArray[np.float64]
RATE = SAMPLE_RATE
NOISES = ("white", "pink", "brown", "babble")
_BABBLE_TEXT = (
    "people were talking about the news and nobody could hear what the others said.",
    "she went over to the table where we had been sitting for more than an hour.",
    "do you remember how long it took them to find a place for all those things?",
    "well, in the end it was much later than they thought, and everyone was tired.",
)
_BABBLE_VOICES = ("en-us+m1", "en+f1", "en-us+steph", "en+m7", "en+paul", "en-us+linda")
_BABBLE_SECONDS = 12


def warp(samples: Wave, factor: float) -> Wave:
    """Resample from eSpeak's rate to 16 kHz with all frequencies multiplied by `factor`.

    Durations are divided by it.
    """
    return np.asarray(soxr.resample(samples, SPEECH_RATE * factor, RATE), dtype=np.float64)


def colour(wave: Wave, tilt: float, bump_hz: float, bump_db: float) -> Wave:
    """Apply a speaker's spectral tilt and one broad resonance (a peaking biquad, Q = 1)."""
    wave = _filtered([1.0, -tilt], [1.0], wave)
    gain = 10 ** (bump_db / 40)
    omega = 2 * np.pi * bump_hz / RATE
    alpha = np.sin(omega) / 2
    b = [1 + alpha * gain, -2 * np.cos(omega), 1 - alpha * gain]
    a = [1 + alpha / gain, -2 * np.cos(omega), 1 - alpha / gain]
    return _filtered(b, a, wave)


def brightness(wave: Wave, start_db: float, end_db: float) -> Wave:
    """Change the gain above about 1.2 kHz from `start_db` to `end_db` over the utterance."""
    low = _smooth(wave, float(np.exp(-2 * np.pi * 1200 / RATE)))
    gains = 10 ** (np.linspace(start_db, end_db, len(wave)) / 20)
    return np.asarray(low + gains * (wave - low), dtype=np.float64)


def breathe(wave: Wave, level: float, random: np.random.Generator) -> Wave:
    """Add breath: high-passed noise that follows the voice's envelope."""
    noise = np.diff(random.standard_normal(len(wave) + 1))
    envelope = np.sqrt(np.maximum(_smooth(wave**2, float(np.exp(-1 / (0.02 * RATE)))), 0.0))
    return wave + level * envelope * noise


def tremble(wave: Wave, depth: float, random: np.random.Generator) -> Wave:
    """Modulate the amplitude at 5 to 7 Hz."""
    rate, phase = random.uniform(5, 7), random.uniform(0, 2 * np.pi)
    return wave * (1 + depth * np.sin(2 * np.pi * rate * np.arange(len(wave)) / RATE + phase))


def reverberate(wave: Wave, rt60: float, direct_db: float, random: np.random.Generator) -> Wave:
    """Convolve with a synthetic room: a direct path at zero and an exponential tail of noise.

    Args:
        wave: speech (S,).
        rt60: seconds until the tail has fallen by 60 dB.
        direct_db: energy of the direct path over the tail's, in dB.
        random: for the tail.
    """
    time = np.arange(int(rt60 * RATE)) / RATE
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    tail[: int(0.003 * RATE)] = 0
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    from scipy.signal import fftconvolve

    return np.asarray(fftconvolve(wave, tail)[: len(wave)], dtype=np.float64)


def add_noise(wave: Wave, kind: str, snr_db: float, random: np.random.Generator) -> Wave:
    """Add noise of a colour, or babble, at a ratio of mean powers."""
    noise = make_noise(kind, len(wave), random)
    scale = float(np.sqrt(np.mean(wave**2) / (np.mean(noise**2) * 10 ** (snr_db / 10))))
    return wave + scale * noise


def make_noise(kind: str, length: int, random: np.random.Generator) -> Wave:
    """Give noise (length,): "white", "pink", "brown" (power 1, 1/f, 1/f²) or "babble"."""
    if kind == "babble":
        bank = _babble_bank()
        start = int(random.integers(len(bank)))
        return np.asarray(np.take(bank, np.arange(start, start + length), mode="wrap"))
    noise = random.standard_normal(length)
    if kind == "white":
        return noise
    spectrum = np.fft.rfft(noise)
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 40.0)
    spectrum *= frequency ** (-0.5 if kind == "pink" else -1.0)
    return np.asarray(np.fft.irfft(spectrum, length), dtype=np.float64)


def set_level(wave: Wave, level_db: float, peak: float = 0.9) -> Wave:
    """Scale to a root mean square in dB below full scale, lower where a peak would be too high."""
    scale = 10 ** (level_db / 20) / float(np.sqrt(np.mean(wave**2)))
    return wave * min(scale, peak / float(np.max(np.abs(wave))))


def _smooth(values: Wave, pole: float) -> Wave:
    return _filtered([1 - pole], [1.0, -pole], values)


def _filtered(numerator: Sequence[float], denominator: Sequence[float], wave: Wave) -> Wave:
    from scipy.signal import lfilter  # half a second, which whoever only plans need not wait

    return np.asarray(lfilter(numerator, denominator, wave), dtype=np.float64)


@lru_cache(maxsize=1)
def _babble_bank() -> Wave:
    """Mix six voices that speak all the time; made once in every process, always the same."""
    length = _BABBLE_SECONDS * RATE
    total = np.zeros(length)
    for index, voice in enumerate(_BABBLE_VOICES):
        texts = _BABBLE_TEXT[index % 4 :] + _BABBLE_TEXT[: index % 4]
        parts = [speak(t, voice, rate=165, pitch=50, pitch_range=50).samples for t in texts]
        voiced = warp(np.concatenate(parts) / 32768.0, 1.0)
        total += np.resize(voiced / np.sqrt(np.mean(voiced**2)), length)
    return total
