"""Custom fields of a user's cuts that are called as this package's own ended in tracebacks.

A field `samples` was taken for the length of what is heard.
"""

from __future__ import annotations

import json

import pytest
from lhotse import MonoCut, Recording, SupervisionSegment

from speechft.core.errors import DataError
from speechft.data.audio import heard_seconds, with_effects
from speechft.data.load import load_data
from speechft.data.waveform_effects import GAIN


@pytest.fixture
def load(tmp_path, tone):
    recording = Recording.from_file(tone("a.wav"))

    def load(own, beside=None):
        said = SupervisionSegment("a", "a", 0.0, 1.0, custom=own)
        cut = MonoCut("a", 0.0, 1.0, 0, [said], recording=recording, custom=beside)
        (tmp_path / "c.jsonl").write_text(json.dumps(cut.to_dict()) + "\n")
        ((found,),) = load_data(str(tmp_path / "c.jsonl")).values()
        return found

    return load


@pytest.mark.parametrize(
    "custom",
    [
        *({"columns": "x"}, {"columns": 3}, {"effects": "silence"}, {"effects": [3]}),
        *({"samples": "x"}, {"trials": 3}, {"trials": ["b"]}, {"trials": [["b", "yes"]]}),
        *({"matches": 3}, {"listed": ["x"]}, {"phonemes": 3}),
    ],
)
def test_the_line_and_the_field_are_named(load, custom):
    (name,) = custom
    for both in ((custom,), (None, custom)):
        with pytest.raises(DataError, match=rf"line 1[\s\S]*'{name}' of a custom object"):
            load(*both)


def test_what_fits_is_taken(load):
    trials = [["b", 1], ["c", 0]]
    cut = load({"trials": trials, "matches": ["d"], "phonemes": "a b", "mine": 3})
    assert cut.supervisions[0].custom["trials"] == trials


def test_somebody_elses_samples_are_no_length(load):
    cut = load({"samples": 48_000})
    assert heard_seconds(cut) == 1.0
    assert heard_seconds(with_effects(load({}), [GAIN], 8000)) == 0.5
