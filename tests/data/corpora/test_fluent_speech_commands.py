from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.sources import load_data

HEADER = ",path,speakerId,transcription,action,object,location\n"
SPEAKERS = {"train": "2BqVo8kVB2Skwgyb", "valid": "2ojo7YRL7Gck83Z3", "test": "4BrX8aDqK2cLZRYl"}


def lay_out(root, lay):
    """Lay synthetic speech in the tree of Fluent Speech Commands."""
    base = root / "fluent_speech_commands_dataset"
    (base / "data").mkdir(parents=True)
    for split, speaker in (
        ("train", "2BqVo8kVB2Skwgyb"),
        ("valid", "2ojo7YRL7Gck83Z3"),
        ("test", "4BrX8aDqK2cLZRYl"),
    ):
        rows = []
        for index, slots in enumerate(("activate,lights,kitchen", '"change language",none,none')):
            path = f"wavs/speakers/{speaker}/{index}.wav"
            lay(base / path)
            rows.append(f'{index},{path},{speaker},"Turn on, please",{slots}\n')
        (base / "data" / f"{split}_data.csv").write_text(HEADER + "".join(rows))
    return root


def test_reads_the_tree(tmp_path, lay):
    data = load_data(f"fluent_speech_commands:{lay_out(tmp_path, lay)}")
    assert {name: len(cuts) for name, cuts in data.items()} == {"train": 2, "dev": 2, "test": 2}
    supervision = data["dev"]["2ojo7YRL7Gck83Z3-1"].supervisions[0]
    assert supervision.custom["intent"] == {
        "action": "change language",
        "object": "none",
        "location": "none",
    }
    assert supervision.text == "Turn on, please"
    assert supervision.speaker == "2ojo7YRL7Gck83Z3"


def test_names_what_is_missing(tmp_path, lay):
    with pytest.raises(DataError, match=r"no data/train_data.csv[\s\S]*fluent.ai"):
        load_data(f"fluent_speech_commands:{tmp_path}")
    root = lay_out(tmp_path, lay) / "fluent_speech_commands_dataset"
    (root / "wavs/speakers/2BqVo8kVB2Skwgyb/1.wav").unlink()
    with pytest.raises(DataError, match="row 3: no such audio file"):
        load_data(f"fluent_speech_commands:{root}")
    table = root / "data" / "train_data.csv"
    table.write_text(table.read_text().replace("location", "place"))
    with pytest.raises(DataError, match="no column 'location'"):
        load_data(f"fluent_speech_commands:{root}")
    table.write_text(HEADER)
    with pytest.raises(DataError, match="no rows"):
        load_data(f"fluent_speech_commands:{root}")
