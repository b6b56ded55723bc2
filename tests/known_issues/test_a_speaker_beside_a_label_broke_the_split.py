"""With a column `speaker` beside `label`, rows were drawn so that dev had classes train never had.

Training ended with an accuracy of 0.00 on dev, and test could never be scored. Now speakers stay
apart where every class has enough of them; else each class is split row by row, and it is said.
"""

from __future__ import annotations

import csv
import logging

import pytest

from speechft.core.errors import DataError
from speechft.data.load import find_data, load_data
from speechft.tasks import TASKS
from speechft.training.finetune.data import read_task

PARTS = ("train", "dev", "test")


def write(folder, tone, rows):
    for index, row in enumerate(rows):
        row["audio"] = f"{index}.wav"
        tone(row["audio"], hz=200 + 10 * index, seconds=0.2)
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(folder / "t.csv")


def test_a_class_of_one_speaker_is_in_all_splits(tmp_path, tone, caplog):
    """Each language has one speaker: only rows can be split, for `language` and for it alone."""
    rows = [
        {
            "speaker": f"s{i % 6}",
            "language": ("cs", "nl", "de")[min(i % 6, 2)],
            "label": "ab"[i % 2],
        }
        for i in range(36)
    ]
    path = write(tmp_path, tone, rows)
    loaded = find_data(path)
    assert "split by speaker" in loaded.notes[-1]
    with caplog.at_level(logging.INFO, logger="speechft"):
        arranged = dict(TASKS["classify:language"].arrange(loaded.splits))
    assert "classify:language: split anew, row by row" in caplog.text
    assert sorted(arranged) == [f"{part}@classify-language" for part in sorted(PARTS)]
    languages = [{c.supervisions[0].language for c in cuts} for cuts in arranged.values()]
    assert languages == [{"cs", "nl", "de"}] * 3
    plain = TASKS["classify:label"].arrange(loaded.splits)
    assert [name for name, _ in plain] == list(PARTS)
    ids = sorted(cut.id for cuts in arranged.values() for cut in cuts)
    assert ids == sorted(cut.id for part in PARTS for cut in loaded.splits[part])


def test_which_split_was_drawn_is_said(tmp_path, tone):
    rows = [{"speaker": f"s{i % 4}", "label": f"l{i % 4}"} for i in range(16)]
    loaded = find_data(write(tmp_path, tone, rows))
    assert "row by row" in loaded.notes[-1]
    assert "'l0' has too few speakers" in loaded.notes[-1]
    for part in PARTS:
        assert {c.supervisions[0].custom["label"] for c in loaded.splits[part]} == {
            f"l{n}" for n in range(4)
        }


def test_splits_of_ones_own_stay(tmp_path, tone):
    splits = ["train", "train", "train", "dev", "test"]
    rows = [{"speaker": "s", "label": "ab"[i % 2], "split": s} for i, s in enumerate(splits)]
    data = load_data(write(tmp_path, tone, rows))
    arranged = TASKS["classify:label"].arrange(data)
    assert [(name, len(cuts)) for name, cuts in arranged] == [("train", 3), ("dev", 1), ("test", 1)]


def test_finetune_refuses_a_dev_class_that_training_never_has(tmp_path, tone):
    splits = ["train", "train", "dev", "test"]
    rows = [{"label": label, "split": s} for label, s in zip("abca", splits, strict=True)]
    path = write(tmp_path, tone, rows)
    with pytest.raises(DataError, match=r"'c' .*does not occur in the training split"):
        read_task(TASKS["classify:label"], load_data(path), path)
