"""One utterance: a job of plain values in, 16 kHz samples and timed phonemes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechft.data.synthetic import effects
from speechft.data.synthetic.espeak import SAMPLE_RATE, Spoken, speak
from speechft.data.synthetic.phones import normalise

SHORTEST, LONGEST = 1.5, 6.0
_ATTEMPTS = 4


@dataclass(frozen=True)
class Job:
    """All that one utterance depends on. Units as in `speakers.Speaker` and `emotions.Prosody`."""

    id: str
    text: str
    language: str
    voice: str
    rate: float
    pitch: float
    pitch_range: float
    word_gap: float
    warp: float
    tilt: float
    bump_hz: float
    bump_db: float
    bright_start: float
    bright_end: float
    breath: float
    tremor: float
    lead: float
    trail: float
    rt60: float
    direct_db: float
    noise: str
    snr_db: float
    level_db: float
    seed: int


@dataclass(frozen=True)
class Utterance:
    """Samples (S,) as int16 at 16 kHz, and (phoneme, start, duration) in seconds."""

    samples: NDArray[np.int16]
    phones: list[tuple[str, float, float]]


def render(job: Job) -> Utterance:
    """Speak, colour, place in a room, and add noise; a function of the job alone."""
    random = np.random.default_rng(job.seed)
    spoken = _speak_within_limits(job)
    wave = effects.warp(spoken.samples / 32768.0, job.warp)
    wave = effects.colour(wave, job.tilt, job.bump_hz, job.bump_db)
    wave = effects.brightness(wave, job.bright_start, job.bright_end)
    wave = effects.breathe(wave, job.breath, random)
    wave = effects.tremble(wave, job.tremor, random)
    lead, trail = round(job.lead * effects.RATE), round(job.trail * effects.RATE)
    wave = np.pad(wave, (lead, trail))
    if job.rt60 > 0:
        wave = effects.reverberate(wave, job.rt60, job.direct_db, random)
    wave = effects.add_noise(wave, job.noise, job.snr_db, random)
    wave = effects.set_level(wave, job.level_db)
    samples = np.round(wave * 32767).astype(np.int16)
    return Utterance(samples, _place(spoken, job.warp, lead / effects.RATE, job.language))


def _speak_within_limits(job: Job) -> Spoken:
    """Speak; change the rate until the utterance lasts between 1.5 and 6 seconds."""
    rate = job.rate / job.warp
    for _ in range(_ATTEMPTS):
        spoken = speak(
            job.text,
            job.voice,
            rate=int(np.clip(round(rate), 80, 450)),
            pitch=int(np.clip(round(job.pitch), 0, 99)),
            pitch_range=int(np.clip(round(job.pitch_range), 0, 99)),
            word_gap=round(job.word_gap),
            seed=job.seed,
        )
        seconds = len(spoken.samples) / (SAMPLE_RATE * job.warp)
        total = seconds + job.lead + job.trail
        if SHORTEST <= total <= LONGEST:
            break
        rate *= 1.05 * total / LONGEST if total > LONGEST else 0.95 * total / SHORTEST
    return spoken


def _place(
    spoken: Spoken, warp: float, lead: float, language: str
) -> list[tuple[str, float, float]]:
    """Turn eSpeak's sample positions into seconds of the final signal, without the pauses."""
    scale = 1 / (SAMPLE_RATE * warp)
    ends = [start for _, start in spoken.phones[1:]] + [len(spoken.samples)]
    placed = []
    for (mnemonic, start), end in zip(spoken.phones, ends, strict=True):
        symbols = normalise(mnemonic, language)
        if not symbols or end <= start:
            continue
        step = (end - start) * scale / len(symbols)
        for index, symbol in enumerate(symbols):
            begin = lead + start * scale + index * step
            placed.append((symbol, round(begin, 4), round(step, 4)))
    return placed
