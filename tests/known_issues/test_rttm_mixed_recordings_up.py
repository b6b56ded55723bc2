"""RTTM named files by their last part alone, and speakers of two utterances of a file alike."""

from __future__ import annotations

from speechft.prediction.answers import lines


def fields(*records):
    return [(line.split()[1], line.split()[7]) for line in lines(records, "rttm")]


def record(file, **more):
    return {"file": file, "start": 0.0, "task": "sd", "turns": [["0", 0.0, 1.0]], **more}


def test_files_of_one_name_are_told_by_their_folders():
    found = fields(record("/x/a/1.wav"), record("/x/b/1.wav"), record("/x/b/two words.wav"))
    names = ["x_a_1", "x_b_1", "two_words"]
    assert found == [(name, "speaker0") for name in names]


def test_speakers_of_utterances_of_one_file_are_others():
    found = fields(record("m.wav", id="u1"), record("m.wav", id="u2"), record("n.wav", id="u3"))
    assert found == [("m", "u1-speaker0"), ("m", "u2-speaker0"), ("n", "speaker0")]


def test_what_has_no_prediction_has_no_line():
    assert fields(record("m.wav"), {"file": "m.wav", "error": "gone"}) == [("m", "speaker0")]
