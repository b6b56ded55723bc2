"""One utterance: a job of plain values in, 16 kHz samples and timed phonemes out.

Phonemes are eSpeak's mnemonics without stress, reduced to a stable set per language (English: 47).
Variants that depend on the neighbourhood (flapped, linking, syllabic) are merged with their
phoneme; mnemonics that stand for two phonemes are split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from speechft.data.synthetic import rooms_and_noise as effects
from speechft.data.synthetic.espeak import SAMPLE_RATE, Spoken, speak

SHORTEST, LONGEST = 1.5, 6.0
_SYMBOLS: Final = (
    "n t d I s D @ l a k r E m f w z 0 p aI b eI i: 3 V v oU h u: g O@ dZ tS 3: j U N S T O: A@ aU "
    "e@ A: OI Z i@ U@"
)
ENGLISH: Final = tuple(_SYMBOLS.split())
# Mnemonic → phonemes; others stand for themselves.
_MERGED: Final = {
    "a#": "@", "@2": "@", "@5": "@", "@-": "@", "@L": "@ l", "I2": "I", "I#": "I", "i": "i:",
    "aa": "a", "O2": "O:", "o@": "O@", "i@3": "i@", "aI@": "aI @", "aI3": "aI 3", "r-": "r",
    "n-": "n", "t#": "t", "t2": "t", "?": "t",
}  # fmt: skip
_OTHER_MERGED: Final = {"R2": "r", "UR": "U R", "oI": "o i"}
_STRESS: Final = "',%=|"
_ATTEMPTS: Final = 4


@dataclass(frozen=True)
class Speaker:
    """One speaker.

    Attributes:
        name: unique within all synthetic speech of one seed.
        voice: eSpeak's language and variant.
        pitch: level, 0 to 100.
        pitch_range: liveliness of the melody, 0 to 100.
        rate: words per minute.
        warp: factor on all formants; above 1 is a shorter vocal tract.
        tilt: coefficient of a one-zero filter; above 0 is a brighter voice.
        bump_hz: centre of a broad resonance, in Hz.
        bump_db: its height, in dB.
    """

    name: str
    voice: str
    pitch: float
    pitch_range: float
    rate: float
    warp: float
    tilt: float
    bump_hz: float
    bump_db: float


@dataclass(frozen=True)
class Prosody:
    """What an emotion changes in a speaker's way of speaking.

    Attributes:
        pitch: added to the speaker's pitch (0 to 100 scale).
        pitch_range: added to the range of the melody (0 to 100 scale).
        rate: factor on the speaking rate.
        word_gap: pause between words, in units of 10 ms.
        bright_start: gain of the high band at the beginning, in dB.
        bright_end: gain of the high band at the end, in dB.
        breath: level of breath noise against the voice, linear.
        tremor: depth of a 5 to 7 Hz tremor of the voice, 0 to 1.
        exclaim: chance of a sentence melody with exclamation mark.
    """

    pitch: float = 0.0
    pitch_range: float = 0.0
    rate: float = 1.0
    word_gap: float = 0.0
    bright_start: float = 0.0
    bright_end: float = 0.0
    breath: float = 0.0
    tremor: float = 0.0
    exclaim: float = 0.1


@dataclass(frozen=True)
class Job:
    """All that one utterance depends on.

    Attributes:
        speaker: with this utterance's own rate, warp and tilt.
        lead: silence before, in seconds; `trail` behind.
        rt60: of the room, in seconds, 0 for none; `direct_db` as in `effects.reverberate`.
        noise: as in `effects.make_noise`; `snr_db` is the speech over it, mean powers in dB.
        level_db: root mean square below full scale, in dB.
        seed: of all that is drawn while it is rendered.
    """

    id: str
    text: str
    language: str
    speaker: Speaker
    prosody: Prosody
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
    speaker, prosody = job.speaker, job.prosody
    spoken = _speak_within_limits(job)
    wave = effects.warp(spoken.samples / 32768.0, speaker.warp)
    wave = effects.colour(wave, speaker.tilt, speaker.bump_hz, speaker.bump_db)
    wave = effects.brightness(wave, prosody.bright_start, prosody.bright_end)
    wave = effects.breathe(wave, prosody.breath, random)
    wave = effects.tremble(wave, prosody.tremor, random)
    lead, trail = round(job.lead * effects.RATE), round(job.trail * effects.RATE)
    wave = np.pad(wave, (lead, trail))
    if job.rt60 > 0:
        wave = effects.reverberate(wave, job.rt60, job.direct_db, random)
    wave = effects.add_noise(wave, job.noise, job.snr_db, random)
    wave = effects.set_level(wave, job.level_db)
    samples = np.round(wave * 32767).astype(np.int16)
    return Utterance(samples, _place(spoken, speaker.warp, lead / effects.RATE, job.language))


def normalise(mnemonic: str, language: str = "en") -> list[str]:
    """Give the phonemes that an event of eSpeak stands for; pauses and modifiers give none."""
    symbol = mnemonic.strip(_STRESS)
    if not symbol or symbol.startswith("_") or symbol == ";":
        return []
    return (_MERGED if language == "en" else _OTHER_MERGED).get(symbol, symbol).split()


def _speak_within_limits(job: Job) -> Spoken:
    """Speak; change the rate until the utterance lasts between 1.5 and 6 seconds."""
    speaker, prosody = job.speaker, job.prosody
    rate = speaker.rate / speaker.warp
    for _ in range(_ATTEMPTS):
        spoken = speak(
            job.text,
            speaker.voice,
            rate=int(np.clip(round(rate), 80, 450)),
            pitch=int(np.clip(round(speaker.pitch + prosody.pitch), 0, 99)),
            pitch_range=int(np.clip(round(speaker.pitch_range + prosody.pitch_range), 0, 99)),
            word_gap=round(prosody.word_gap),
            seed=job.seed,
        )
        seconds = len(spoken.samples) / (SAMPLE_RATE * speaker.warp)
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
