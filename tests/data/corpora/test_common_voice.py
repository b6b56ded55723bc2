from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.load import load_data


def test_reads_the_tree(corpus_tree):
    root = corpus_tree("common_voice")
    for spec in (f"{root}@cy", f"{root}/cy", f"{root}/cy@cy"):
        data = load_data(f"common_voice:{spec}")
        assert {name: len(cuts) for name, cuts in data.items()} == dict.fromkeys(
            ("train", "dev", "test"), 2
        )
    supervision = data["dev"]["common_voice_cy_dev1"].supervisions[0]
    assert supervision.language == "cy"
    assert supervision.speaker == "c1"
    assert supervision.text[0] == '"'
    assert "\t" not in supervision.text


def test_one_language_needs_no_name(corpus_tree):
    root = corpus_tree("common_voice")
    with pytest.raises(DataError, match=r"several languages[\s\S]*ROOT@LANGUAGE[\s\S]*cy, eo"):
        load_data(f"common_voice:{root}")
    (root / "eo").rename(root.parent / "eo")
    assert len(load_data(f"common_voice:{root}")["train"]) == 2


def test_names_what_is_missing(corpus_tree, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no Common Voice here[\s\S]*datacollective"):
        load_data(f"common_voice:{tmp_path}/empty@cy")
    root = corpus_tree("common_voice")
    with pytest.raises(DataError, match=r"no language 'cz'[\s\S]*did you mean 'cy'"):
        load_data(f"common_voice:{root}@cz")
    (root / "cy" / "clips" / "common_voice_cy_dev1.mp3").unlink()
    with pytest.raises(DataError, match=r"dev.tsv, row 3: no such audio file"):
        load_data(f"common_voice:{root}@cy")
    table = root / "cy" / "dev.tsv"
    good = table.read_text()
    table.write_text(good + "c7\n")
    with pytest.raises(DataError, match=r"dev.tsv, row 4: it has fewer fields"):
        load_data(f"common_voice:{root}@cy")
    table.write_text(table.read_text().replace("client_id", "client"))
    with pytest.raises(DataError, match="no column 'client_id'"):
        load_data(f"common_voice:{root}@cy")
    table.unlink()
    with pytest.raises(DataError, match=r"no dev.tsv"):
        load_data(f"common_voice:{root}@cy")
