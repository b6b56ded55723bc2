from __future__ import annotations

import pytest
import soundfile

from speechft.core.errors import DataError
from speechft.data.audio import load_waveform, read_audio
from speechft.data.sources import load_data


def lay_out(root, speech):
    """Lay synthetic speech in LibriSpeech's tree: parts, speakers, chapters, transcripts."""
    files = iter(speech)
    for part, speaker in (("train-clean-100", 19), ("dev-clean", 84), ("test-clean", 61)):
        for chapter in (198, 227):
            folder = root / "LibriSpeech" / part / str(speaker) / str(chapter)
            folder.mkdir(parents=True)
            lines = []
            for index in range(2):
                name = f"{speaker}-{chapter}-{index:04d}"
                wave, rate = soundfile.read(next(files))
                soundfile.write(folder / f"{name}.flac", wave, rate)
                lines.append(f"{name} SENTENCE NUMBER {index}\n")
            (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return root


def test_reads_the_tree(tmp_path, speech):
    root = lay_out(tmp_path, speech)
    for spec in (f"librispeech:{root}", f"librispeech:{root}/LibriSpeech"):
        data = load_data(spec)
        assert {name: len(cuts) for name, cuts in data.items()} == {
            "train": 4,
            "dev": 4,
            "test": 4,
        }
    cut = data["dev"]["84-227-0001"]
    assert cut.supervisions[0].text == "SENTENCE NUMBER 1"
    assert cut.supervisions[0].speaker == "84"
    assert load_waveform(cut).equal(read_audio(cut.recording.sources[0].source))


def test_names_what_is_missing(tmp_path, speech):
    with pytest.raises(DataError, match=r"no LibriSpeech here[\s\S]*openslr.org/12"):
        load_data(f"librispeech:{tmp_path}")
    root = lay_out(tmp_path, speech)
    (root / "LibriSpeech/dev-clean/84/198/84-198-0001.flac").unlink()
    with pytest.raises(DataError, match="84-198-0001: no such audio file"):
        load_data(f"librispeech:{root}")
    for path in (root / "LibriSpeech/test-clean").rglob("*.trans.txt"):
        path.unlink()
    for path in (root / "LibriSpeech/dev-clean").rglob("*.trans.txt"):
        path.write_text("")
    with pytest.raises(DataError, match="holds no transcript"):
        load_data(f"librispeech:{root}")


def test_lexicons_give_phonemes(tmp_path, speech):
    root = lay_out(tmp_path, speech)
    first, second = "librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt"
    (root / first).write_text("SENTENCE\tS EH1 N T AH0 N S\nNUMBER\tN AH1 M B ER0\n0\tZ IH1\n")
    with pytest.raises(DataError, match="the word '1' is in no lexicon"):
        load_data(f"librispeech:{root}")
    # The first pronunciation of a word counts, in the order of the files.
    (root / second).write_text("1\tW AH1 N\nNUMBER\tWRONG\n")
    data = load_data(f"librispeech:{root}")
    phonemes = data["dev"]["84-227-0001"].supervisions[0].custom["phonemes"]
    assert phonemes == [
        "S",
        "EH1",
        "N",
        "T",
        "AH0",
        "N",
        "S",
        "N",
        "AH1",
        "M",
        "B",
        "ER0",
        "W",
        "AH1",
        "N",
    ]
