"""A folder as lhotse's recipes leave it, with supervisions beside the cuts, was refused."""

from __future__ import annotations

import pytest
from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

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
