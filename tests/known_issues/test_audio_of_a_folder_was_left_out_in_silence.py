"""A folder of recordings is heard whole, whichever command searches it.

Folders of labels and of noise took five endings, and `predict` and `embed` no recording without a
header: the others were left out without a word, though all of them can be decoded. So were those
that need another program first (AAC, WebM), and texts that lie beside the audio.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechft.core.errors import DataError
from speechft.data.check import check_data
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


@pytest.mark.parametrize("kind", ["m4a", "MP4", "webm", "amr"])
def test_what_needs_another_program_is_named(folder: Path, caplog, kind: str) -> None:
    (folder / "train" / "dog" / f"phone.{kind}").write_bytes(b"ftyp")
    said = f"a file is left out, as they need `ffmpeg -i IN OUT.wav` first: phone.{kind}"
    assert f"warning: {said}" in check_text(f"audiofolder:{folder}")
    assert len(find_audio([folder])) == 2 * len(KINDS)
    assert said in caplog.text
    alone = folder / "alone"
    (alone / "a").mkdir(parents=True)
    (alone / "a" / f"phone.{kind}").write_bytes(b"ftyp")
    for read in (find_audio, lambda names: load_data(f"audiofolder:{names[0]}")):
        with pytest.raises(DataError, match="no audio") as refused:
            read([alone])
        assert said in str(refused.value.found)


@pytest.mark.parametrize("ending", [".txt", ".TextGrid"])
def test_texts_beside_the_audio_are_said_not_to_be_read(folder: Path, ending: str) -> None:
    assert "not read" not in check_text(f"audiofolder:{folder}")
    for path in find_audio([folder]):
        path.with_suffix(ending).write_text("a dog")
    text = check_text(f"audiofolder:{folder}")
    assert f"files beside the audio, such as a{ending}, are not read" in text


def check_text(spec: str) -> str:
    found = check_data(spec)
    return "\n".join(f"warning: {line}" for line in found.warnings)
