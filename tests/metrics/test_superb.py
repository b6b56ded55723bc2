from __future__ import annotations

import numpy as np
import pytest

from speechft.core.errors import SettingsError
from speechft.metrics.superb import REFERENCES, Reference, superb_score

PUBLISHED = {
    "HuBERT": (5.17, 81.86, 64.99, 88.54, 24.70, 870.20),
    "HuBERT + regular": (5.22, 79.89, 65.38, 88.52, 23.80, 870.71),
    "HuBERT + Speech-FT": (3.94, 84.11, 67.78, 88.84, 23.46, 905.79),
    "wav2vec 2.0": (5.78, 75.26, 63.45, 88.12, 24.88, 837.08),
    "wav2vec 2.0 + regular": (6.84, 72.95, 64.53, 87.22, 26.45, 824.82),
    "wav2vec 2.0 + Speech-FT": (4.14, 78.44, 64.87, 88.37, 24.10, 864.79),
}


def scores(per, sid, er, f1, cer):
    return {
        "pr": {"per": per},
        "sid": {"acc": sid},
        "er": {"acc": er},
        "sf": {"slot_type_f1": f1, "slot_value_cer": cer},
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rows_to_the_second_decimal(name):
    *values, expected = PUBLISHED[name]
    assert round(superb_score(scores(*values), reference="speech-ft"), 2) == expected


def test_floor_scores_0_and_ceiling_1000():
    reference = REFERENCES["speech-ft"]
    assert superb_score(reference.floor) == pytest.approx(0)
    assert superb_score(reference.ceiling) == pytest.approx(1000)


def test_own_reference_and_subset_of_tasks():
    own = Reference("own", "here", {"pr": {"per": 100.0}}, {"pr": {"per": 0.0}})
    assert superb_score({"pr": {"per": 25.0}}, own) == pytest.approx(750)


@pytest.mark.parametrize(
    ("given", "reference", "words"),
    [
        ({}, "speech-ft", "at least one task"),
        ({"pr": {"per": 1.0}}, "speechft", "did you mean 'speech-ft'"),
        ({"prr": {"per": 1.0}}, "speech-ft", "did you mean 'pr'"),
        ({"sf": {"slot_type_f1": 1.0}}, "speech-ft", "slot_value_cer"),
    ],
)
def test_refuses_what_it_cannot_score(given, reference, words):
    with pytest.raises(SettingsError, match=words):
        superb_score(given, reference)


@pytest.mark.parametrize(
    "given", [{"pr": {"per": float("nan")}}, {"pr": {"per": "5.17"}}, {"pr": 5.17}]
)
def test_refuses_what_is_no_number(given):
    with pytest.raises(SettingsError, match="task 'pr'"):
        superb_score(given)


def test_takes_numpy_numbers():
    assert superb_score({"pr": {"per": np.float32(5.0)}}) == superb_score({"pr": {"per": 5}})
