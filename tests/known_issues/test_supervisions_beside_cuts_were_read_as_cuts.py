"""A folder as lhotse's recipes leave it, with supervisions beside the cuts, was refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import (
    CutSet,
    MonoCut,
    Recording,
    RecordingSet,
    SupervisionSegment,
    SupervisionSet,
)

from speechft.core.errors import DataError
from speechft.data.load import load_data


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_the_cuts_alone_are_read(tmp_path, tone, ending):
    recordings = RecordingSet.from_recordings([Recording.from_file(tone("a.wav"))])
    said = SupervisionSet.from_segments([SupervisionSegment("s", "a", 0.0, 1.0, text="hello")])
    folder = tmp_path / "manifests"
    folder.mkdir()
    recordings.to_file(folder / f"recordings_train{ending}")
    said.to_file(folder / f"supervisions_train{ending}")
    cuts = CutSet.from_manifests(recordings=recordings, supervisions=said)
    cuts.to_file(folder / f"cuts_train{ending}")
    ((cut,),) = load_data(str(folder)).values()
    assert cut.supervisions[0].text == "hello"


def test_lists_of_lhotse_without_cuts_are_told_how_they_become_some(tmp_path: Path) -> None:
    """An empty list of features was taken for the cuts, since it is packed."""
    cuts = CutSet.from_cuts([])
    recordings, supervisions = RecordingSet.from_recordings([]), SupervisionSet.from_segments([])
    recordings.to_file(tmp_path / "corpus_recordings_train.jsonl.gz")
    supervisions.to_file(tmp_path / "corpus_supervisions_train.jsonl.gz")
    cuts.to_file(tmp_path / "features.jsonl.gz")
    for place in (tmp_path, tmp_path / "corpus_recordings_train.jsonl.gz"):
        with pytest.raises(DataError) as refused:
            load_data(str(place))
        assert "CutSet.from_manifests" in str(refused.value.hint)


def test_a_folder_of_one_file_without_a_split_is_split_as_the_file(tmp_path: Path) -> None:
    for number in range(12):
        soundfile.write(tmp_path / f"{number}.wav", np.full(8000, 0.01 * number), 16000)
    cuts = []
    for number in range(12):
        recording = Recording.from_file(tmp_path / f"{number}.wav")
        speaker = f"s{number % 4}"
        said = SupervisionSegment(f"{number}", recording.id, 0.0, 0.5, speaker=speaker)
        cuts.append(MonoCut(f"c{number}", 0.0, 0.5, 0, [said], recording=recording))
    path = tmp_path / "folder" / "cuts.jsonl.gz"
    path.parent.mkdir()
    CutSet.from_cuts(cuts).to_file(path)
    alone, inside = load_data(str(path)), load_data(str(path.parent))
    ids = [{name: [cut.id for cut in own] for name, own in one.items()} for one in (alone, inside)]
    assert ids[0] == ids[1]
    assert {"train", "dev", "test"} <= ids[0].keys()
    path.rename(path.with_name("cuts_train.jsonl.gz"))
    assert [*load_data(str(path.parent))] == ["train"]
