from __future__ import annotations

import pytest

from speechft.core.errors import DataError, SettingsError
from speechft.data.load import load_data


def matches(data, split):
    return {cut.id: cut.supervisions[0].custom["matches"] for cut in data[split]}


def test_reads_the_tree(corpus_tree):
    root = corpus_tree("quesst2014")
    data = load_data(f"quesst2014:{root}")
    assert list(data["docs"].ids) == ["quesst14_00001", "quesst14_00002", "quesst14_00003"]
    for kind in ("dev", "eval"):
        assert matches(data, f"{kind}_queries") == {
            f"quesst14_{kind}_0001": ["quesst14_00001"],
            f"quesst14_{kind}_0002": ["quesst14_00002"],
        }
        # All three queries occur, in four documents; Basque is in the lists, too.
        custom = data[f"{kind}_queries"][f"quesst14_{kind}_0001"].supervisions[0].custom
        assert custom["listed"] == [3, 4, 1]
    every = load_data(f"quesst2014:{root}@all")
    assert "listed" not in every["dev_queries"]["quesst14_dev_0001"].supervisions[0].custom
    assert {c.supervisions[0].language for cuts in data.values() for c in cuts} == {"nnenglish"}
    assert data["docs"]["quesst14_00001"].recording.sampling_rate == 8000


def test_other_languages_are_variants(corpus_tree):
    root = corpus_tree("quesst2014")
    data = load_data(f"quesst2014:{root}@basque")
    assert list(data["docs"].ids) == ["quesst14_00004"]
    assert matches(data, "dev_queries") == {"quesst14_dev_0004": ["quesst14_00004"]}
    assert len(load_data(f"quesst2014:{root}@all")["docs"]) == 4
    with pytest.raises(SettingsError, match=r"no language 'basqe'[\s\S]*did you mean 'basque'"):
        load_data(f"quesst2014:{root}@basqe")


def test_names_what_is_missing(corpus_tree):
    root = corpus_tree("quesst2014")
    (root / "Audio" / "quesst14_00002.wav").unlink()
    with pytest.raises(DataError, match=r"utterances.lst, line 2: no such[\s\S]*speech.fit.vutbr"):
        load_data(f"quesst2014:{root}")
    listing = root / "scoring" / "language_key_dev.lst"
    listing.write_text("nonsense\n")
    with pytest.raises(DataError, match="the list has 1 problem"):
        load_data(f"quesst2014:{root}")
    listing.unlink()
    with pytest.raises(DataError, match=r"no scoring/language_key_dev.lst"):
        load_data(f"quesst2014:{root}")
