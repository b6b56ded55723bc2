from __future__ import annotations

import pytest
from corpus_trees.fluent_speech_commands import HEADER

from speechft.core.errors import DataError
from speechft.data.load import load_data


def test_reads_the_tree(corpus_tree):
    data = load_data(f"fluent_speech_commands:{corpus_tree('fluent_speech_commands')}")
    assert {name: len(cuts) for name, cuts in data.items()} == {"train": 3, "dev": 3, "test": 3}
    supervision = data["dev"]["2ojo7YRL7Gck83Z3-1"].supervisions[0]
    assert supervision.custom["intent"] == {
        "action": "change language",
        "object": "none",
        "location": "none",
    }
    assert supervision.text == "Turn on, please"
    assert supervision.speaker == "2ojo7YRL7Gck83Z3"


def test_names_what_is_missing(corpus_tree, tmp_path):
    with pytest.raises(DataError, match=r"no data/train_data.csv[\s\S]*fluent.ai"):
        load_data(f"fluent_speech_commands:{tmp_path}")
    root = corpus_tree("fluent_speech_commands")
    (root / "wavs/speakers/2BqVo8kVB2Skwgyb/1.wav").unlink()
    with pytest.raises(DataError, match=r"train_data.csv, row 3: no such audio file"):
        load_data(f"fluent_speech_commands:{root}")
    table = root / "data" / "train_data.csv"
    table.write_text(table.read_text().replace("location", "place"))
    with pytest.raises(DataError, match="no column 'location'"):
        load_data(f"fluent_speech_commands:{root}")
    table.write_text(HEADER)
    with pytest.raises(DataError, match="no rows"):
        load_data(f"fluent_speech_commands:{root}")
