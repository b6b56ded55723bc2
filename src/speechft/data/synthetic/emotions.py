"""Prosodic classes ("emotions"): melody, rate, rhythm and voice quality over the utterance.

Loudness marks no class: encoders with a group norm in their front end do not see it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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


EMOTIONS: dict[str, Prosody] = {
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
