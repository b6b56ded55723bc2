"""Two utterances of one id were taken for one.

Where a task changes what is heard (ASV, KS) nothing refused them in a split, and ASV scored trials
on the wrong one; `data check` looked at one of those in two splits; of two files of a split one was
read.
"""

from __future__ import annotations

import json

import pytest
from lhotse import MonoCut, Recording, SupervisionSegment

from speechft.core.errors import DataError
from speechft.data.check import check_data
from speechft.data.load import load_data
from speechft.data.prepare import prepare_data
from speechft.prediction.recordings import find_recordings
from speechft.probing.inputs import read_splits

SPLITS = ("train", "dev", "test")


@pytest.fixture
def cuts(tmp_path, tone):
    def cuts(name: str, *utterances: tuple[str, str], folder: str = "cuts"):
        """Write (id, file) of each as a file of cuts."""
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        for number, (own, file) in enumerate(utterances):
            if not (tmp_path / file).exists():
                tone(file, hz=100 + 10 * sum(file.encode()))
            custom = {"label": "xy"[number % 2]}
            said = SupervisionSegment(own, own, 0.0, 1.0, speaker=f"s{number % 2}", custom=custom)
            recording = Recording.from_file(tmp_path / file)
            cut = MonoCut(own, 0.0, 1.0, 0, [said], recording=recording)
            lines.append(json.dumps(cut.to_dict()) + "\n")
        path.write_text("".join(lines))
        return path.parent

    return cuts


@pytest.mark.parametrize("task", ["sid", "ks", "asv", "classify:label"])
def test_a_split_holds_an_id_once(cuts, task):
    for split in SPLITS:
        names = ("a", "b", "c", "c" if split == "test" else "d")
        place = cuts(f"{split}.jsonl", *((name, f"{split}{i}.wav") for i, name in enumerate(names)))
    with pytest.raises(DataError, match="two utterances have one id"):
        read_splits(str(place), [task])


def test_all_audio_is_checked_where_splits_number_alike(cuts, tmp_path):
    place = cuts("train.jsonl", ("1", "a.wav"), ("2", "b.wav"))
    cuts("dev.jsonl", ("1", "c.wav"), ("2", "a.wav"))
    cuts("test.jsonl", ("1", "d.wav"), ("2", "e.wav"))
    (tmp_path / "c.wav").write_bytes(b"RIFF")
    broken, same = check_data(str(place)).errors
    assert broken.startswith("1: the audio cannot be decoded")
    assert "the same audio 2 times" in same
    assert "in different splits" in same


def test_equal_audio_is_seen_in_every_family_of_splits(cuts):
    place = cuts("sid_train.jsonl", ("0", "a.wav"), ("1", "b.wav"))
    cuts("train.jsonl", ("2", "a.wav"), ("3", "c.wav"))
    cuts("test.jsonl", ("4", "a.wav"), ("5", "d.wav"))
    (same,) = check_data(str(place)).errors
    assert "the same audio 3 times" in same
    assert "in different splits" in same


def test_only_the_broken_one_is_left_out(cuts, tmp_path):
    place = cuts("train.jsonl", ("1", "a.wav"), ("2", "b.wav"))
    cuts("dev.jsonl", ("1", "c.wav"), ("2", "d.wav"))
    (tmp_path / "c.wav").write_bytes(b"RIFF")
    prepare_data(str(place), tmp_path / "out", skip_bad=True)
    found = {n: [cut.id for cut in own] for n, own in load_data(str(tmp_path / "out")).items()}
    assert found == {"dev": ["2"], "train": ["1", "2"]}


def test_two_files_of_one_split_are_refused(cuts):
    place = cuts("train.jsonl", ("1", "a.wav"))
    cuts("cuts_train.jsonl", ("2", "b.wav"))
    with pytest.raises(DataError, match=r"two files hold cuts of the split 'train'"):
        load_data(str(place))


def test_an_utterance_of_two_files_is_heard_once(cuts):
    place = cuts("train.jsonl", ("1", "a.wav"), ("2", "b.wav"))
    cuts("sid_train.jsonl", ("1", "a.wav"), ("2", "c.wav"))
    assert [one.id for one in find_recordings([str(place)])] == ["1", "2", "2"]
