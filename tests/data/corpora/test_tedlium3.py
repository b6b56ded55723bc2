from __future__ import annotations

import pytest
from corpus_trees.tedlium3 import stm

from speechft.core.errors import DataError
from speechft.data.audio import load_waveform
from speechft.data.corpora import tedlium3
from speechft.data.load import find_data, load_data


def test_reads_the_tree(corpus_tree):
    data = load_data(f"tedlium3:{corpus_tree('tedlium3')}")
    assert {name: len(cuts) for name, cuts in data.items()} == {"train": 6, "dev": 3, "test": 3}
    first = next(iter(data["train"]))
    assert first.id == "AalaElKhani_2016X-0002"
    assert first.supervisions[0].speaker == "AalaElKhani_2016X"
    second = list(data["train"])[1]
    assert second.start > first.duration
    assert len(load_waveform(second)) == round(second.duration * 16000)


def test_text_is_that_of_the_release():
    assert tedlium3.normalise("they 're well-known <sil> (2) 20 %") == "THEY'RE WELL KNOWN SIL"


def test_filters(corpus_tree):
    root = corpus_tree("tedlium3")
    path = root / "legacy" / "test" / "stm" / "A.stm"
    kept = stm("A", 0, 1.0, "exactly one second")
    dropped = [
        stm("A", 0, 0.99, "short"),
        stm("A", 0, 60.01, "long"),
        stm("A", 0, 2, "an <unk> word"),
        stm("A", 0, 2, "ignore_time_segment_in_scoring"),
        stm("A", 0, 2, "42"),
    ]
    path.write_text("".join([*dropped, kept]))
    texts = [c.supervisions[0].text for c in load_data(f"tedlium3:{root}")["test"]]
    assert texts == ["EXACTLY ONE SECOND"]


def test_train_is_the_first_hours(corpus_tree, monkeypatch):
    root = corpus_tree("tedlium3")
    lengths = [cut.duration for cut in load_data(f"tedlium3:{root}@full")["train"]]
    # The odd stretch at the end of a talk lasts a second and counts as well.
    monkeypatch.setattr(tedlium3, "TRAIN_SECONDS", sum(lengths[:3]) + 1 + lengths[3] / 2)
    cuts = load_data(f"tedlium3:{root}")["train"]
    assert [cut.duration for cut in cuts] == lengths[:4]
    monkeypatch.setattr(tedlium3, "TRAIN_SECONDS", sum(lengths[:3]) - 0.1)
    assert len(load_data(f"tedlium3:{root}")["train"]) == 3
    assert len(load_data(f"tedlium3:{root}@full")["train"]) == len(lengths) == 6


def test_says_what_is_less_than_the_whole(corpus_tree):
    notes = find_data(f"tedlium3:{corpus_tree('tedlium3')}").notes
    assert "train: 2 talks, the whole corpus has 2351" in notes
    assert any(note.endswith("hours instead of 10") for note in notes)


def test_names_what_is_missing(corpus_tree, tmp_path):
    with pytest.raises(DataError, match=r"no legacy/train/stm[\s\S]*openslr.org"):
        load_data(f"tedlium3:{tmp_path}")
    root = corpus_tree("tedlium3")
    path = root / "legacy" / "dev" / "stm" / "AlGore_2009.stm"
    path.write_text("AlGore_2009 1 x 0 one two\n" + path.read_text())
    with pytest.raises(DataError, match=r"AlGore_2009.stm, line 1: expected 'TALK"):
        load_data(f"tedlium3:{root}")
    path.write_text(stm("AlGore_2009", 0, 50, "beyond the end"))
    with pytest.raises(DataError, match="behind the end of"):
        load_data(f"tedlium3:{root}")
    path.write_text("")
    with pytest.raises(DataError, match="no utterance for the split 'dev'"):
        load_data(f"tedlium3:{root}")
