"""A table as a spreadsheet writes it ended in advice that had nothing to do with its fault.

`Audio;Text` was read with commas, so that the first quoted field was "a quotation mark may be
missing"; so was every header in other words. Text that was not UTF-8 had no next step and the
wrong row. Empty rows at the end were rows without audio. And of ten minutes by three voices, a
voice with 40 % of them was drawn for the test.
"""

from __future__ import annotations

import logging

import pytest

from speechft.core.errors import DataError
from speechft.data.load import load_data


@pytest.fixture
def read(tmp_path, tone):
    tone("a.wav")
    tone("b.wav", hz=300)

    def load(text: str, encoding: str = "utf-8-sig"):
        path = tmp_path / "t.csv"
        path.write_bytes(text.encode(encoding))
        return [cut for cuts in load_data(str(path)).values() for cut in cuts]

    return load


def test_headers_with_capitals(read, caplog):
    with caplog.at_level(logging.INFO):
        cuts = read('Audio;Text;SPEAKER\r\na.wav;"one; two";ann\r\nb.wav;two;ben\r\n')
    assert {c.supervisions[0].text for c in cuts} == {"one; two", "two"}
    assert {c.supervisions[0].speaker for c in cuts} == {"ann", "ben"}
    assert "the column 'Audio' is taken for 'audio'" in caplog.text


def test_a_name_in_small_letters_is_not_replaced(read):
    (cut,) = read("audio,text,Text\na.wav,one,two\n")
    assert cut.supervisions[0].text == "one"
    assert cut.supervisions[0].custom["columns"] == {"Text": "two"}


def test_headers_in_other_words_are_named(read):
    with pytest.raises(DataError, match="no column 'audio'") as error:
        read('Datei;Satz\r\na.wav;"eins; zwei"\r\n')
    assert error.value.found == "Datei, Satz"


@pytest.mark.parametrize(("encoding", "row"), [("cp1250", 3), ("utf-16", 1)])
def test_text_that_is_not_utf_8_has_a_next_step(read, encoding, row):
    with pytest.raises(DataError, match="as UTF-8") as error:
        read("audio;text\r\na.wav;one\r\nb.wav;kůň\r\n", encoding)
    assert str(error.value.where).endswith(f"row {row}")


def test_empty_rows_are_no_rows(read):
    assert len(read("audio;text\r\na.wav;one\r\nb.wav;two\r\n;\r\n ;\r\n")) == 2


def test_a_speaker_of_many_utterances_trains(tmp_path, tone):
    tone("a.wav")
    for seed in range(8):
        spoken = ["ann"] * 40 + ["ben"] * 30 + ["cat"] * 10 + ["dan"] * 10 + ["eve"] * 10
        rows = [f"a.wav,{seed * 100 + i},{name}" for i, name in enumerate(spoken)]
        path = tmp_path / f"t{seed}.csv"
        path.write_text("\n".join(["audio,text,speaker", *rows]))
        data = load_data(str(path), seed=seed)
        assert {name: len(data[name]) for name in ("train", "dev", "test")} == {
            "train": 80,
            "dev": 10,
            "test": 10,
        }
