from __future__ import annotations

import shutil

import pytest

from speechft.core.errors import DataError
from speechft.data.sources import load_data

EMOTIONS = ("neu", "exc", "ang", "sad", "hap", "fru", "xxx")


def lay_out(root, lay):
    """Lay synthetic speech in IEMOCAP's tree: five sessions, all emotions in each."""
    for session in range(1, 6):
        folder = root / "IEMOCAP_full_release" / f"Session{session}"
        dialogue = f"Ses{session:02d}F_script01_1"
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n", "\n"]
        for index, emotion in enumerate(EMOTIONS):
            name = f"{dialogue}_{'FM'[index % 2]}{index:03d}"
            lay(folder / "sentences" / "wav" / dialogue / f"{name}.wav")
            lines.append(f"[6.2901 - 8.2357]\t{name}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n")
            lines.append("C-E2:\tNeutral;\t()\n")
        labels = folder / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
        labels.parent.mkdir(parents=True)
        labels.write_text("".join(lines))
    return root


def test_reads_the_tree(tmp_path, lay):
    data = load_data(f"iemocap:{lay_out(tmp_path, lay)}")
    assert len(data) == 18
    for fold in range(1, 6):
        train, dev, test = (data[f"fold{fold}_{name}"] for name in ("train", "dev", "test"))
        assert (len(train), len(dev), len(test)) == (16, 4, 5)
        assert {cut.id[:5] for cut in test} == {f"Ses{fold:02d}"}
        assert not {cut.id for cut in test} & {cut.id for cut in (*train, *dev)}
        assert len({cut.id for cut in (*train, *dev)}) == 20
    labels = [cut.supervisions[0].custom["emotion"] for cut in data["test"]]
    assert sorted(labels) == ["ang", "hap", "hap", "neu", "sad"]
    assert {cut.supervisions[0].speaker for cut in data["test"]} == {"Ses01F", "Ses01M"}
    again = load_data(f"iemocap:{tmp_path}")
    assert list(again["train"].ids) == list(data["train"].ids)
    assert list(data["train"].ids) == list(data["fold1_train"].ids)


def test_names_what_is_missing(tmp_path, lay):
    with pytest.raises(DataError, match=r"no Session1/sentences/wav[\s\S]*sail.usc.edu"):
        load_data(f"iemocap:{tmp_path}")
    root = lay_out(tmp_path, lay) / "IEMOCAP_full_release"
    next((root / "Session2").rglob("*_F000.wav")).unlink()
    with pytest.raises(DataError, match="F000: no such audio file"):
        load_data(f"iemocap:{root}")
    for path in (root / "Session3" / "dialog").rglob("*.txt"):
        path.write_text("")
    shutil.rmtree(root / "Session2")
    shutil.copytree(root / "Session1", root / "Session2")
    with pytest.raises(DataError, match="no label of the four emotions"):
        load_data(f"iemocap:{root}")
    shutil.rmtree(root / "Session4")
    with pytest.raises(DataError, match="no Session4/sentences/wav"):
        load_data(f"iemocap:{root}")
