"""Custom fields of a user's cuts that are called as this package's own ended in tracebacks.

A field `samples` was taken for the length of what is heard. So did alignments whose items are of
other types than lhotse writes; one that lies outside of its utterance made all of it silence.
"""

from __future__ import annotations

import json

import pytest
from lhotse import MonoCut, Recording, SupervisionSegment

from speechft.core.errors import DataError
from speechft.data.cuts import heard_seconds, with_effects
from speechft.data.load import load_data
from speechft.data.waveform_effects import GAIN
from speechft.tasks import TASKS


@pytest.fixture
def load(tmp_path, tone):
    recording = Recording.from_file(tone("a.wav"))

    def load(own, beside=None, alignment=None):
        said = SupervisionSegment("a", "a", 0.0, 1.0, custom=own)
        cut = MonoCut("a", 0.0, 1.0, 0, [said], recording=recording, custom=beside)
        record = cut.to_dict()
        record["supervisions"][0] |= {"alignment": alignment} if alignment else {}
        (tmp_path / "c.jsonl").write_text(json.dumps(record) + "\n")
        ((found,),) = load_data(str(tmp_path / "c.jsonl")).values()
        return found

    return load


@pytest.mark.parametrize(
    "custom",
    [
        *({"columns": "x"}, {"columns": 3}, {"effects": "silence"}, {"effects": [3]}),
        *({"samples": "x"}, {"trials": 3}, {"trials": ["b"]}, {"trials": [["b", "yes"]]}),
        *({"matches": 3}, {"listed": ["x"]}, {"phonemes": 3}, {"phonemes": ["a", None]}),
    ],
)
def test_the_line_and_the_field_are_named(load, custom):
    (name,) = custom
    for both in ((custom,), (None, custom)):
        with pytest.raises(DataError, match=rf"line 1[\s\S]*'{name}' of a custom object"):
            load(*both)


@pytest.mark.parametrize(
    "item", [3, [], ["a"], [3, 0.0, 0.5], ["a", "x", 0.5], ["a", 0.0, None], [None, 0.0, 0.5, None]]
)
def test_items_of_an_alignment_are_looked_at(load, item):
    with pytest.raises(DataError, match=r"line 1[\s\S]*'phone' of an alignment"):
        load(None, alignment={"phone": [item]})


@pytest.mark.parametrize("start", [-5.0, 1.0, 7.5])
def test_an_alignment_outside_of_its_utterance_is_no_silence(load, start):
    cut = load(None, alignment={"phone": [["a", start, 0.5]]})
    with pytest.raises(DataError, match="no phoneme lies in the utterance"):
        TASKS["pc"].from_cuts([cut])
    inside = load(None, alignment={"phone": [["a", 0.9, 0.5], ["b", start, 0.5]]})
    assert TASKS["pc"].from_cuts([inside]).classes == ["a", "b", "sil"]


@pytest.mark.parametrize("value", [{"a": 1}, None, [], [{"a": 1}]])
def test_what_is_no_text_holds_no_tokens(value):
    with pytest.raises(ValueError, match=r".*"):
        TASKS["ctc:x:tokens"].read(value)


def test_what_fits_is_taken(load):
    trials = [["b", 1], ["c", 0]]
    cut = load({"trials": trials, "matches": ["d"], "phonemes": "a b", "mine": 3})
    assert cut.supervisions[0].custom["trials"] == trials


def test_somebody_elses_samples_are_no_length(load):
    cut = load({"samples": 48_000})
    assert heard_seconds(cut) == 1.0
    assert heard_seconds(with_effects(load({}), [GAIN], 8000)) == 0.5
