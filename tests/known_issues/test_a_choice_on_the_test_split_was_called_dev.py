"""A result said `dev` of a split that is the test split under another name, or holds it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile
from evaluate_fixture import evaluation
from lhotse import MonoCut, Recording
from lhotse.audio import AudioSource

from speechft.core.errors import SettingsError
from speechft.core.files import read_jsonl
from speechft.core.heard import Heard
from speechft.data.identity import audio_hashes
from speechft.probing import leaks
from speechft.probing.cells import chosen_on
from speechft.probing.evaluate import evaluate


@pytest.fixture
def split(tmp_path):
    """Gives utterances of a folder, each with audio of its own."""

    def make(folder: str, count: int, names: str = "") -> list[MonoCut]:
        cuts = []
        for n in range(count):
            file = tmp_path / folder / f"{n}.wav"
            if not file.exists():
                file.parent.mkdir(exist_ok=True)
                wave = np.random.default_rng([*folder.encode(), n]).uniform(-0.5, 0.5, 16000)
                soundfile.write(file, wave, 16000)
            sources = [AudioSource("file", [0], str(file))]
            recording = Recording(file.name, sources, 16000, 16000, 1.0)
            cuts.append(MonoCut(f"{names or folder}-{n}", 0.0, 1.0, 0, recording=recording))
        return cuts

    return make


@pytest.mark.parametrize(
    ("dev", "test", "expected"),
    [
        (("a", 3), ("a", 3), "test"),
        (("a", 3), ("a", 2), "test"),  # as on_leak: drop leaves it under S3PRL's ASV
        (("a", 3), ("a", 3, "other names"), "test"),  # rows of a table have ids of their own
        (("a", 3), ("copied", 3), "test"),
        (("a", 3), ("b", 3), "dev"),
        (("a", 2), ("a", 3), "dev"),
    ],
)
def test_what_chose_is_told_by_what_is_in_it(split, tmp_path, dev, test, expected):
    split("a", 3)
    shutil.copytree(tmp_path / "a", tmp_path / "copied")
    assert chosen_on([split("t", 2), split(*dev), split(*test)]) == expected


@pytest.mark.parametrize(("dev", "said"), [("a", {}), ("other", {"probe_dev_items": 1.0})])
def test_a_test_split_that_chooses_by_protocol_is_no_leak(split, dev, said):
    """S3PRL's ASV: dev and test are one split, and `on_leak: drop` leaves a part of it for test."""
    cuts = {"train": split("t", 2), dev: split("a", 3)}
    cuts["a@unheard-asv"] = cuts[dev][:2]
    content = audio_hashes([cut for own in cuts.values() for cut in own])
    found = leaks.tested("asv", cuts, ["train", dev, "a@unheard-asv"], "", content)
    assert found.shares(Heard()) == {"heard_items": 0.0, **said}


@pytest.mark.parametrize(("shared", "selection"), [(0, "dev"), (2, "dev"), (6, "test")])
def test_the_share_of_test_in_dev_is_said(evaluation_home, tmp_path, shared, selection):
    table = evaluation_home / "data" / "table.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows = [{**row, "audio": str(table.parent / row["audio"])} for row in rows]
    test = [row for row in rows if row["split"] == "test"]
    rows += [{**row, "split": "dev"} for row in test[:shared]]
    data = tmp_path / "own.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = evaluate(evaluation(evaluation_home, tmp_path / "out", data=str(data), tasks="er"))
    (record,) = read_jsonl(done / "results.jsonl")
    assert record["selection"] == f"{selection} acc"
    assert record.get("probe_dev_items", 0) == pytest.approx(shared / 6, abs=1e-4)
    if shared == 2:
        more = {"data": str(data), "tasks": "er"}
        with pytest.raises(SettingsError, match=r"33\.3 % .* dev split that chose the probe"):
            evaluate(evaluation(evaluation_home, tmp_path / "no", on_leak="refuse", **more))
        done = evaluate(evaluation(evaluation_home, tmp_path / "less", on_leak="drop", **more))
        (record,) = read_jsonl(done / "results.jsonl")
        assert (record["items"], record["dropped_items"]) == (4, 2)


def test_queries_that_chose_a_state_and_are_scored(evaluation_home, corpus_tree, tmp_path):
    root = corpus_tree("quesst2014")
    for file in (root / "dev_queries").iterdir():
        shutil.copy(root / "eval_queries" / file.name.replace("dev", "eval"), file)
    data = f"quesst2014:{root}"
    done = evaluate(evaluation(evaluation_home, tmp_path / "out", data=data, tasks="qbe"))
    record = read_jsonl(done / "results.jsonl")[0]
    assert (record["selection"], record["probe_dev_items"]) == ("test mtwv", 1.0)
