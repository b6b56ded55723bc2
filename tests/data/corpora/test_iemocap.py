from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from speechft.core.errors import DataError
from speechft.data.corpora.iemocap import FOLDS, _fold, orders
from speechft.data.load import load_data
from speechft.data.utterances import Utterance

DIGESTS = {1: "b4d78d46", 2: "99058f5b", 3: "f0d8d368", 4: "2736c8a9", 5: "5dcc60d4"}


def test_reads_the_tree(corpus_tree):
    root = corpus_tree("iemocap")
    data = load_data(f"iemocap:{root}")
    assert len(data) == 18
    for fold in range(1, 6):
        train, dev, test = (data[f"fold{fold}_{name}"] for name in ("train", "dev", "test"))
        assert (len(train), len(dev), len(test)) == (32, 8, 10)
        assert {cut.id[:5] for cut in test} == {f"Ses{fold:02d}"}
        assert not {cut.id for cut in test} & {cut.id for cut in (*train, *dev)}
        assert len({cut.id for cut in (*train, *dev)}) == 40
    labels = [cut.supervisions[0].custom["emotion"] for cut in data["test"]]
    assert sorted(labels) == ["ang"] * 2 + ["hap"] * 4 + ["neu"] * 2 + ["sad"] * 2
    assert {cut.supervisions[0].speaker for cut in data["test"]} == {"Ses01F", "Ses01M"}
    again = load_data(f"iemocap:{root}")
    assert list(again["train"].ids) == list(data["train"].ids)
    assert list(data["train"].ids) == list(data["fold1_train"].ids)


def test_dialogues_come_in_the_order_of_superb(corpus_tree):
    """The test split of a fold is a whole session, undrawn: its order shows."""
    root = corpus_tree("iemocap")
    assert [len(orders()[k]) for k in range(1, 6)] == [28, 30, 32, 30, 31]
    for session in range(1, 6):
        order = orders()[session]
        wanted = sorted(("Fi01", "Ms011"), key=order.index)
        names = {"Fi01": "F_impro01", "Ms011": "M_script01_1"}
        found = [cut.id for cut in load_data(f"iemocap:{root}")[f"fold{session}_test"]]
        dialogues = [f"Ses{session:02d}{names[name]}" for name in wanted]
        assert [name[:-5] for name in found] == [d for d in dialogues for _ in range(5)]
        assert found == [n for d in dialogues for n in sorted(x for x in found if x[:-5] == d)]


def test_dev_is_drawn_as_by_s3prl():
    """Positions in the list of the other sessions, as `random_split` gives them with seed 0.

    Pinned from S3PRL's own lists: with them, all five folds came out equal to S3PRL's.
    """
    sizes = {k: FOLDS[k][2] for k in range(1, 6)}
    sessions = {k: [Utterance(f"{k}-{i}", Path("x")) for i in range(n)] for k, n in sizes.items()}
    digests = {}
    for fold, (train, dev, test) in FOLDS.items():
        parts = _fold(sessions, fold)
        assert tuple(len(parts[n]) for n in ("train", "dev", "test")) == (train, dev, test)
        names = ",".join(u.id for u in parts["dev"])
        digests[fold] = hashlib.sha256(names.encode()).hexdigest()[:8]
    assert digests == DIGESTS


def test_names_what_is_missing(corpus_tree, tmp_path):
    with pytest.raises(DataError, match=r"no Session1/sentences/wav[\s\S]*sail.usc.edu"):
        load_data(f"iemocap:{tmp_path}")
    root = corpus_tree("iemocap")
    next((root / "Session2").rglob("*_F000.wav")).unlink()
    with pytest.raises(DataError, match=r"F000: no such audio file[\s\S]*sail.usc.edu"):
        load_data(f"iemocap:{root}")
    for path in (root / "Session3" / "dialog").rglob("*.txt"):
        path.write_text("")
    with pytest.raises(DataError, match="no label of the four emotions"):
        load_data(f"iemocap:{root}")
    shutil.rmtree(root / "Session4")
    with pytest.raises(DataError, match="no Session4/sentences/wav"):
        load_data(f"iemocap:{root}")
