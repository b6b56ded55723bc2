"""Tables were read otherwise than their owner meant, and nothing was said.

An unbalanced quotation mark in a TSV swallowed the rows after it: four rows became one transcript.
JSON's NaN became the word "nan", `[]` and `true` became texts, a number in `phonemes` a traceback.
NeMo's `offset` and `duration` were ignored, so that each row was the whole file, and `emotion` was
proposed for `duration`. A table separated by `;` was "without a column audio". `~nobody/a.wav` was
a traceback, `a.WAV` for `a.wav` and Windows' paths were files that are not there. A FLAC of unknown
length had 2.6 × 10^12 hours.
"""

from __future__ import annotations

import json
import logging

import pytest

from speechft.core.errors import DataError
from speechft.data.audio import load_waveform
from speechft.data.load import find_data, load_data

ROWS = [("a.wav", '5" wide'), ("b.wav", "two"), ("c.wav", 'three "'), ("d.wav", "four")]


@pytest.fixture
def read(tmp_path, tone):
    for index, name in enumerate("abcd"):
        tone(f"{name}.wav", hz=200 + 20 * index)

    def load(text: str, name: str = "t.csv"):
        path = tmp_path / name
        path.write_text(text)
        return [cut for cuts in load_data(str(path)).values() for cut in cuts]

    return load


def texts(cuts) -> list[str | None]:
    return [cut.supervisions[0].text for cut in sorted(cuts, key=lambda cut: cut.id)]


def test_quotation_marks_in_tabs_are_text(read):
    lines = ["audio\ttext", *("\t".join(row) for row in ROWS)]
    assert texts(read("\n".join(lines), "t.tsv")) == [text for _, text in ROWS]
    pandas = 'audio\ttext\na.wav\t"5"" wide"\nb.wav\t"two"\n'
    assert texts(read(pandas, "t.tsv")) == ['5" wide', "two"]


@pytest.mark.parametrize(
    "text",
    [
        'audio,text\na.wav,"one\nb.wav,two\nc.wav,three\n',
        'audio,text\na.wav,"one\nb.wav,"two"\nc.wav,three\n',
        'audio,text\na.wav,"one\nb.wav,two"\nc.wav,three\n',
    ],
)
def test_an_open_quotation_mark_swallows_no_row(read, text):
    with pytest.raises(DataError, match=r"row \d[\s\S]*quotation mark may be missing"):
        read(text)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"audio": "a.wav", "text": NaN}', "NaN is no JSON value"),
        ('{"audio": "a.wav", "text": []}', r"row 1: text is \[\], not a text"),
        ('{"audio": "a.wav", "text": true}', "row 1: text is true, not a text"),
        ('{"audio": "a.wav", "label": {"a": 1}}', "row 1: label is {.a.: 1}, not a text"),
        ('{"audio": ["a.wav"]}', "row 1: audio is .*, not a text"),
        ('{"audio": "a.wav", "phonemes": 7}', "row 1: phonemes is 7, not a list of names"),
        ('{"audio": "a.wav", "phonemes": [["a"]]}', "row 1: phonemes is .*, not a list of names"),
        ('{"audio": "a.wav", "start": true}', "row 1: start is not a number of seconds: True"),
        ('{"audio": "a.wav", "end": "nan"}', "row 1: end is not a number of seconds: 'nan'"),
    ],
)
def test_values_of_another_kind_are_refused(read, row, said):
    with pytest.raises(DataError, match=said):
        read(row, "t.jsonl")


def test_numbers_are_texts_as_written(read):
    (cut,) = read('{"audio": "a.wav", "speaker": 12, "label": "01", "text": null}', "t.jsonl")
    assert (cut.supervisions[0].speaker, cut.supervisions[0].text) == ("12", None)
    assert cut.supervisions[0].custom["label"] == "01"


def test_offset_and_duration_say_the_part(read, tmp_path):
    row = {"id": "x", "audio_filepath": "a.wav", "offset": 0.25, "duration": 0.5, "text": "yes"}
    (cut,) = read(json.dumps(row), "nemo.jsonl")
    assert (cut.start, cut.duration, cut.supervisions[0].text) == (0.25, 0.5, "yes")
    notes = find_data(str(tmp_path / "nemo.jsonl")).notes
    assert "the column 'audio_filepath' is taken for 'audio'" in notes
    cuts = {"id": "x", "audio": "a.wav", "start": 0.5, "duration": 0.25}
    (cut,) = read(json.dumps(cuts), "t.jsonl")
    assert (cut.start, cut.duration) == (0.5, 0.25)
    with pytest.raises(DataError, match=r"row 2: end 0.9 is not start \+ duration, 0.75"):
        read("audio,start,duration,end\na.wav,0.5,0.25,0.9\n")


def test_names_that_the_hub_gives_columns(read):
    assert texts(read("file_name,transcription\na.wav,yes\n", "metadata.csv")) == ["yes"]


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_what_separates_the_fields_is_seen(read, sign):
    assert texts(read(f"audio{sign}text\na.wav{sign}one, two\n")) == ["one, two"]


def test_nothing_is_proposed_for_a_duration(read, caplog):
    with caplog.at_level(logging.WARNING, logger="speechft"):
        read("audio,duration\na.wav,1.0\n")
    assert "did you mean" not in caplog.text


def test_paths_as_people_write_them(read, tmp_path, tone, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tone("sub/e.wav")
    assert len(read("audio\n~/a.wav\nsub\\e.wav\n")) == 2
    for name, hint in (("a.WAV", "a.wav"), ("b.flac", "b.wav")):
        with pytest.raises(DataError, match=rf"no such audio file.*did you mean '{hint}'"):
            read(f"audio\n{name}\n")
    with pytest.raises(DataError, match=r"no such audio file: .*~nobody-knows/a\.wav"):
        read("audio\n~nobody-knows/a.wav\n")
    with pytest.raises(DataError, match="no such data"):
        load_data("~nobody-knows/t.csv")


def test_a_stream_that_does_not_say_how_long_it_is(read, tmp_path, tone):
    path = tone("stream.flac", seconds=2.0)
    data = bytearray(path.read_bytes())
    number = int.from_bytes(data[18:26], "big") & ~((1 << 36) - 1)
    data[18:26] = number.to_bytes(8, "big")
    path.write_bytes(data)
    (cut,) = read("audio\nstream.flac\n")
    assert cut.duration == 2.0
    assert len(load_waveform(cut)) == 32000
    with pytest.raises(DataError, match="lies behind the end"):
        read("audio,start,end\nstream.flac,0,7\n")


def test_a_class_with_one_speaker_stays_in_training(tmp_path, tone):
    """Whole speakers went to dev and test, and with them all that a class has."""
    lines = ["audio,speaker,label"]
    for index in range(30):
        tone(f"{index}.wav", hz=200 + 10 * index, seconds=0.1)
        lines.append(f"{index}.wav,s{index % 5},l{index % 5}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    loaded = find_data(str(tmp_path / "t.csv"))
    labels = {n: {c.supervisions[0].custom["label"] for c in s} for n, s in loaded.splits.items()}
    assert labels["train"] == labels["dev"] == labels["test"] == {f"l{n}" for n in range(5)}
    assert "share speakers" in loaded.notes[0]
