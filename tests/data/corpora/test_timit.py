from __future__ import annotations

import shutil

import pytest
from corpus_trees.timit import PHONES

from speechft.core.errors import DataError, SettingsError
from speechft.data.load import load_data

FOLDED = ["sil", "sh", "ih", "hh", "eh", "sil", "jh", "ih", "d", "ah", "sil", "k", "s", "uw", "n"]
FOLDED += ["sil", "g", "r", "iy", "w", "aa", "sh", "sil", "ah", "sh", "sil"]


def test_reads_the_tree(corpus_tree):
    data = load_data(f"timit:{corpus_tree('timit')}")
    speakers = {name: {c.supervisions[0].speaker for c in cuts} for name, cuts in data.items()}
    assert speakers == {"train": {"fcjf0", "mdac0"}, "dev": {"fadg0"}, "test": {"mdab0"}}
    # No dialect sentences.
    assert list(data["dev"].ids) == ["fadg0-si1027", "fadg0-sx37"]
    cut = data["dev"]["fadg0-sx37"]
    assert cut.supervisions[0].text
    assert not cut.supervisions[0].text[0].isdigit()


def test_phones_and_their_times(corpus_tree):
    root = corpus_tree("timit")
    cut = load_data(f"timit:{root}")["dev"]["fadg0-sx37"]
    supervision = cut.supervisions[0]
    assert supervision.custom["phonemes"] == FOLDED
    items = supervision.alignment["phone"]
    assert [item.symbol for item in items] == FOLDED
    rows = [x.split() for x in (root / "TEST/DR4/FADG0/SX37.PHN").read_text().splitlines()]
    rows = [row for row in rows if row[2] != "q"]
    for item, (first, end, _) in zip(items, rows, strict=True):
        assert item.start == pytest.approx(int(first) / 16000, abs=1e-6)
        assert item.end == pytest.approx(int(end) / 16000, abs=1e-6)
    assert items[-1].end == pytest.approx(cut.duration, abs=1e-4)


def test_other_sets_of_phones(corpus_tree):
    root = corpus_tree("timit")
    all_phones = load_data(f"timit:{root}@61")["dev"]["fadg0-sx37"].supervisions[0]
    assert all_phones.custom["phonemes"] == list(PHONES)
    fewer = load_data(f"timit:{root}@48")["dev"]["fadg0-sx37"].supervisions[0].custom["phonemes"]
    assert {"cl", "vcl", "epi", "ax", "zh", "en", "ix", "ao"} <= set(fewer)
    with pytest.raises(SettingsError, match=r"no variant '40'[\s\S]*@39, @48, @61"):
        load_data(f"timit:{root}@40")


def test_small_letters_and_copies_in_wav(corpus_tree):
    root = corpus_tree("timit")
    before = load_data(f"timit:{root}")
    for path in sorted(root.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    for path in list(root.rglob("*.wav")):
        shutil.copy(path, path.with_name(f"{path.name}.wav"))
    after = load_data(f"timit:{root}")
    for name, cuts in before.items():
        assert [c.supervisions[0].to_dict() for c in cuts] == [
            c.supervisions[0].to_dict() for c in after[name]
        ]


def test_names_what_is_missing(corpus_tree, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no TIMIT here[\s\S]*ldc.upenn.edu"):
        load_data(f"timit:{tmp_path}/empty")
    root = corpus_tree("timit")
    phones = root / "TEST" / "DR4" / "FADG0" / "SX37.PHN"
    phones.write_text("0 100 nothing\n")
    with pytest.raises(DataError, match="'nothing' is no phone of TIMIT"):
        load_data(f"timit:{root}")
    phones.unlink()
    with pytest.raises(DataError, match=r"no .*SX37.PHN"):
        load_data(f"timit:{root}")
    shutil.rmtree(root / "TEST" / "DR4")
    with pytest.raises(DataError, match="no utterance for the split 'dev'"):
        load_data(f"timit:{root}")
