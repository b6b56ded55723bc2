"""`B-city` and `I-city` were two slots: tags in IOB or IOBES were taken for plain names."""

from __future__ import annotations

import pytest
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from speechft.core.errors import DataError
from speechft.data.identity import data_id
from speechft.data.load import find_data, load_data
from speechft.data.slot_tags import scheme_of


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O B-city I-city B-day", "IOB"),
        ("O B-city E-city S-day", "IOBES"),
        ("O B-city L-city U-day", "BILOU"),
        ("O city city day", None),
    ],
)
def test_slots_are_the_same_in_every_scheme(tmp_path, tone, tags, scheme):
    tone("a.wav")
    path = tmp_path / "t.csv"
    path.write_text(f"audio,text,tags\na.wav,to New York today,{tags}\n")
    ((cut,),) = load_data(str(path)).values()
    assert cut.supervisions[0].custom["slots"] == [["city", "New York"], ["day", "today"]]
    notes = [note for note in find_data(str(path)).notes if "the tags are" in note]
    assert notes == (
        [f"the tags are {scheme}, and slots are called without its marks"] if scheme else []
    )


@pytest.mark.parametrize("field", ["word_tags", "words_tags"])
@pytest.mark.parametrize("where", ["a file", "a folder"])
def test_cuts_have_the_same_slots(tmp_path, tone, field, where):
    tone("a.wav")
    recording = Recording.from_file(tmp_path / "a.wav")
    words = ["to", "New", "York", "today"]

    def read(tags, splits=("train", "dev")):
        for name in splits:
            pairs = [list(pair) for pair in zip(words, tags.split(), strict=True)]
            said = SupervisionSegment(name, "a", 0.0, 1.0, custom={field: pairs, "other": 1})
            cut = MonoCut(name, 0.0, recording.duration, 0, [said], recording=recording)
            CutSet.from_cuts([cut]).to_file(tmp_path / "cuts" / f"{name}.jsonl")
        return tmp_path / "cuts" / ("train.jsonl" if where == "a file" else "")

    (tmp_path / "cuts").mkdir()
    found = find_data(str(read("O B-city I-city S-day")))
    assert found.notes[0] == "the tags are IOBES, and slots are called without its marks"
    (cut,) = found.splits["train"]
    plain = [["to", "O"], ["New", "city"], ["York", "city"], ["today", "day"]]
    assert cut.supervisions[0].custom == {field: plain, "other": 1}
    marked = data_id(str(tmp_path / "cuts"))
    read("O city city day")
    assert data_id(str(tmp_path / "cuts")) == marked
    with pytest.raises(DataError, match="some tags have marks"):
        load_data(str(read("O B-city I-city day")))


def test_neighbours_are_counted_and_mixtures_refused(tmp_path, tone):
    tone("a.wav")
    path = tmp_path / "t.jsonl"
    path.write_text('{"audio": "a.wav", "text": "York Rome", "tags": ["B-city", "B-city"]}')
    assert "1 slots beside another" in find_data(str(path)).notes[0]
    path.write_text('{"audio": "a.wav", "text": "York Rome", "tags": ["B-city", "town"]}')
    with pytest.raises(
        DataError, match=r"some tags have marks, as B-city, and others none, as town"
    ):
        load_data(str(path))


def test_what_is_no_scheme():
    assert scheme_of({"E-mail", "O", "city"}) is None
    with pytest.raises(ValueError, match="the marks B, S, U are of no one scheme"):
        scheme_of({"B-a", "S-a", "U-a"})
