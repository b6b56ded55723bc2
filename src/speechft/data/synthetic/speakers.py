"""Speakers: fixed combinations of voice, accent, pitch, rate, vocal-tract length and colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speechft.core.seeding import numpy_generator
from speechft.data.synthetic.words import split_words

# Variants with a human sound; those with echo or breath are not repeatable (see `espeak`).
VOICES: tuple[str, ...] = split_words(
    "Andrea Annie Gene Jacky Mario Michael Nguyen antonio belinda boris ed f1 ian iven john m1 m3 "
    "m4 m7 m8 max norbert paul quincy rob robert steph steph3 travis zac"
)
ACCENTS: dict[str, tuple[str, ...]] = {
    "en": ("en-us", "en-us", "en", "en-gb-x-rp"),
    "es": ("es", "es-419"),
    "de": ("de",),
}


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


def draw_speaker(seed: int, group: str, index: int, language: str = "en") -> Speaker:
    """Draw speaker number `index` of a group; groups never share a speaker."""
    random: np.random.Generator = numpy_generator(seed, "speaker", group, index)
    accents = ACCENTS[language]
    accent = accents[int(random.integers(len(accents)))]
    voice = VOICES[int(random.integers(len(VOICES)))]
    return Speaker(
        name=f"{group}-{index:03d}",
        voice=f"{accent}+{voice}",
        pitch=float(random.uniform(25, 75)),
        pitch_range=float(random.uniform(38, 62)),
        rate=float(random.uniform(145, 190)),
        warp=float(random.uniform(0.88, 1.14)),
        tilt=float(random.uniform(-0.25, 0.35)),
        bump_hz=float(np.exp(random.uniform(np.log(400), np.log(4000)))),
        bump_db=float(random.uniform(-7, 7)),
    )
