"""Tasks read labels in a cut's own `custom`, and its identity left them out: results stayed."""

from __future__ import annotations

import json

import pytest
from lhotse import MonoCut, Recording, SupervisionSegment

from speechft.data.identity import data_id
from speechft.data.load import load_data
from speechft.data.utterances import MARKS
from speechft.tasks import TASKS


@pytest.fixture
def write(tmp_path, tone):
    recording = Recording.from_file(tone("audio/a.wav"))

    def write(**custom):
        own = SupervisionSegment("a", "a", 0.0, 1.0, custom={"label": "x"})
        cut = MonoCut("a", 0.0, 1.0, 0, [own], recording=recording, custom=custom)
        path = tmp_path / "cuts" / "train.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(cut.to_dict()) + "\n")
        return str(path.parent)

    return write


def test_what_a_task_reads_is_part_of_the_identity(write):
    found = {}
    for emotion in ("calm", "angry"):
        place = write(emotion=emotion)
        (cut,) = load_data(place)["train"]
        assert TASKS["er"].labels(cut) == {"emotion": emotion}
        found[data_id(place)] = emotion
    assert len(found) == 2


def test_marks_of_this_package_do_not_count(write):
    """Data of earlier versions keep their identity."""
    plain = data_id(write())
    assert data_id(write(**dict.fromkeys(MARKS - {"diarization"}, 1))) == plain
