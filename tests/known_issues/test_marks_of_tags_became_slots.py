"""`B-city` and `I-city` were two slots: tags in IOB or IOBES were taken for plain names."""

from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.sources import find_data, load_data
from speechft.data.table import scheme_of


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
