from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.load import find_data, load_data


def test_reads_the_tree(corpus_tree):
    root = corpus_tree("aishell3")
    data = load_data(f"aishell3:{root}")
    speakers = {name: {c.supervisions[0].speaker for c in cuts} for name, cuts in data.items()}
    assert speakers == {"train": {"SSB0005", "SSB0009"}, "dev": {"SSB0062"}, "test": {"SSB0011"}}
    supervision = data["dev"]["SSB00620001"].supervisions[0]
    assert supervision.text == "广州女大学生"
    assert supervision.custom["pinyin"] == ["guang3", "zhou1", "nv3", "da4", "xue2", "sheng1"]
    assert supervision.language == "zh"
    notes = find_data(f"aishell3:{root}").notes
    assert notes == [
        "train: 6 utterances, the whole corpus has 63262",
        "test: 2 utterances, the whole corpus has 24773",
    ]


def test_names_what_is_missing(corpus_tree, tmp_path):
    with pytest.raises(DataError, match=r"no train/content.txt[\s\S]*openslr.org"):
        load_data(f"aishell3:{tmp_path}")
    root = corpus_tree("aishell3")
    (root / "train" / "wav" / "SSB0005" / "SSB00050001.wav").unlink()
    with pytest.raises(DataError, match=r"train/content.txt, line 1: no such audio file"):
        load_data(f"aishell3:{root}")
    content = root / "test" / "content.txt"
    content.write_text("SSB00110001.wav 广 guang3\n")
    with pytest.raises(DataError, match=r"test/content.txt, line 1: expected 'FILE.wav<tab>"):
        load_data(f"aishell3:{root}")
