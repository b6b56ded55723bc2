"""A folder of recordings is heard whole, whichever command searches it.

Folders of labels and of noise took five endings, and `predict` and `embed` no recording without a
header: the others were left out without a word, though all of them can be decoded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechft.data.decoding import decode
from speechft.data.load import load_data
from speechft.prediction.audio_files import find_audio

KINDS = {
    "a.wav": {},
    "b.flac": {},
    "c.aiff": {"format": "AIFF"},
    "d.oga": {"format": "OGG", "subtype": "VORBIS"},
    "e.au": {"format": "AU"},
    "f.caf": {"format": "CAF"},
    "g.sph": {"format": "NIST"},
    "h.sln": {"format": "RAW", "subtype": "PCM_16"},
    "i.gsm": {"format": "RAW", "subtype": "GSM610"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0)
    for label in ("dog", "cat"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for name, kind in KINDS.items():
            wave = 0.1 * noise.standard_normal(8000)
            soundfile.write(tmp_path / "train" / label / name, wave, 8000, **kind)
        (tmp_path / "train" / label / "._a.wav").write_bytes(b"what macOS leaves")
        (tmp_path / "train" / label / "notes.txt").write_text("no audio")
    return tmp_path


def test_every_kind_can_be_decoded(folder: Path) -> None:
    for name in KINDS:
        samples, rate = decode(folder / "train" / "dog" / name)
        assert (len(samples) >= 8000, rate) == (True, 8000)


def test_a_folder_of_labels_is_whole(folder: Path) -> None:
    cuts = list(load_data(f"audiofolder:{folder}")["train"])
    heard = {Path(cut.recording.sources[0].source).name for cut in cuts}
    assert heard == set(KINDS)
    assert len(cuts) == 2 * len(KINDS)


def test_a_folder_that_is_searched_is_whole(folder: Path) -> None:
    assert {path.name for path in find_audio([folder])} == set(KINDS)
