"""Synthetic speech to lay out as corpora do."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile

FORMATS = {".sph": "NIST", ".WAV": "NIST"}


class Speech:
    """Utterances of the synthetic corpus, by voice.

    `take` gives the next utterance of a voice, `lay` writes it in the format of the path's suffix;
    the same calls in the same order give the same audio.
    """

    def __init__(self, splits):
        english = {
            cut.id: cut
            for name, cuts in splits.items()
            if not name.startswith(("es_", "de_"))
            for cut in cuts
        }
        voices = defaultdict(list)
        for cut in english.values():
            voices[cut.supervisions[0].speaker].append(cut)
        self.voices = [voices[name] for name in sorted(voices)]
        self.taken = defaultdict(int)

    def choose(self, voice: int):
        """Give the next cut of a voice; after the last comes the first."""
        cuts = self.voices[voice % len(self.voices)]
        self.taken[voice] += 1
        return cuts[(self.taken[voice] - 1) % len(cuts)]

    def take(self, voice: int = 0, seconds: float | None = None):
        """Give (wave, the supervision of the utterance); `seconds` cuts or repeats the wave."""
        cut = self.choose(voice)
        wave, rate = soundfile.read(cut.recording.sources[0].source)
        assert rate == 16000
        if seconds is not None:
            wave = np.resize(wave, int(seconds * rate))
        return wave, cut.supervisions[0]

    def lay(self, path: Path, voice: int = 0, seconds: float | None = None, rate: int = 16000):
        """Write the next utterance of a voice; give its supervision."""
        wave, supervision = self.take(voice, seconds)
        write(path, wave, rate)
        return supervision


def write(path: Path, wave, rate: int = 16000) -> None:
    """Write a wave (at 16 kHz; other rates are whole parts or multiples of it)."""
    if rate < 16000:
        wave = wave[:: 16000 // rate]
    elif rate > 16000:
        wave = wave.repeat(rate // 16000)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, format=FORMATS.get(path.suffix))
