"""Who speaks, and how: speakers, and prosodic classes ("emotions") that move them.

A speaker is a fixed combination of voice, accent, pitch, rate, vocal-tract length and colour. An
emotion changes melody, rate, rhythm and voice quality over the utterance. Loudness marks no class:
encoders with a group norm in their front end do not see it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from speechft.core.seeding import numpy_generator
from speechft.data.synthetic.render import Prosody, Speaker

# Variants with a human sound; those with echo or breath are not repeatable (see `espeak`).
_VARIANTS: Final = (
    "Andrea Annie Gene Jacky Mario Michael Nguyen antonio belinda boris ed f1 ian iven john m1 m3 "
    "m4 m7 m8 max norbert paul quincy rob robert steph steph3 travis zac"
)
VOICES: Final = tuple(_VARIANTS.split())
ACCENTS: Final = {
    "en": ("en-us", "en-us", "en", "en-gb-x-rp"),
    "es": ("es", "es-419"),
    "de": ("de",),
}


def draw_speaker(seed: int, group: str, index: int, language: str = "en") -> Speaker:
    """Draw speaker number `index` of a group; groups never share a speaker."""
    random = numpy_generator(seed, "speaker", group, index)
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


EMOTIONS: Final = {
    "neutral": Prosody(),
    "happy": Prosody(16, 30, 1.06, 0, -1, 6, 0.0, 0.05, 0.6),
    "sad": Prosody(-10, -24, 0.86, 2, 0, -7, 0.10, 0.05, 0.0),
    "angry": Prosody(4, 12, 1.14, 0, 7, -1, 0.0, 0.35, 0.6),
}


def draw_prosody(emotion: str, random: np.random.Generator) -> Prosody:
    """Draw one utterance's prosody around the centre of its class, wide enough to overlap."""
    centre = EMOTIONS[emotion]
    strength = float(random.uniform(0.6, 1.2))
    return Prosody(
        pitch=strength * centre.pitch + float(random.normal(0, 5)),
        pitch_range=strength * centre.pitch_range + float(random.normal(0, 7)),
        rate=centre.rate**strength * float(np.exp(random.normal(0, 0.05))),
        word_gap=max(0.0, strength * centre.word_gap + float(random.normal(0, 0.7))),
        bright_start=strength * centre.bright_start + float(random.normal(0, 2)),
        bright_end=strength * centre.bright_end + float(random.normal(0, 2)),
        breath=max(0.0, strength * centre.breath + float(random.normal(0.02, 0.02))),
        tremor=max(0.0, strength * centre.tremor + float(random.normal(0.05, 0.05))),
        exclaim=float(random.uniform() < centre.exclaim),
    )
