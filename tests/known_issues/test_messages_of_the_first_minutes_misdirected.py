"""Messages that a newcomer met first and that led astray.

Encoders of two families were said to be one in fairseq's names, and every tensor was listed, 300
lines of them; an unknown task was refused after the data was hashed and read; who asked a finished
run for more updates was told only that other settings had made it. A missing speaker was answered
with a classification by some other column, whatever stood in the table, and by the id of a cut
without its file; how data was split was said three times; a column of one class alone was fine.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from speechft.core.errors import DataError, IncompatibleModelsError, SettingsError
from speechft.core.logging import say_once
from speechft.data.check import check_data
from speechft.data.load import load_data
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.tasks import TASKS
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune
from speechft.training.run_folder import begin, run_artifact


def test_two_families_are_called_so_in_few_lines(tmp_path: Path):
    with pytest.raises(IncompatibleModelsError) as caught:
        merge(MergeSettings(base="tiny-hubert", tuned=("tiny-decoar2",), out=tmp_path / "m"))
    assert "decoar2, BASE of hubert" in str(caught.value)
    assert "fairseq" not in str(caught.value)
    assert len(str(caught.value).splitlines()) < 20


def test_an_unknown_task_is_refused_before_data_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def read(*_: object) -> None:
        raise AssertionError("the data was looked at")

    monkeypatch.setattr("speechft.training.finetune.stage.run_artifact", read)
    with pytest.raises(SettingsError, match="did you mean 'sid'"):
        finetune(
            FinetuneSettings(
                encoder="tiny-hubert", task="sidd", data="synthetic:demo", out=tmp_path / "f"
            )
        )


def test_a_run_that_should_be_longer_says_how_to_go_on(tmp_path: Path):
    def artifact(**values: int):
        settings = FinetuneSettings(
            encoder="tiny-hubert", task="sid", data="synthetic:tiny", out=tmp_path, **values
        )
        return run_artifact(tmp_path, "finetune", settings)

    first = artifact(steps=100)
    begin(first)
    (tmp_path / "product").write_text("x")
    first.end(["product"])
    with pytest.raises(SettingsError, match=rf"(?s)steps 200.*--continue {tmp_path}"):
        begin(artifact(steps=200))
    with pytest.raises(SettingsError, match="with other settings"):
        begin(artifact(steps=200, seed=1))


def _table(folder: Path, tone, **columns: str) -> str:
    """Write eight rows; a column's values are taken in turn."""
    rows = [["audio", *columns]]
    for n in range(8):
        tone(f"{n}.wav", seconds=0.3, hz=200 + 20 * n)
        rows.append([f"{n}.wav", *(v.split()[n % len(v.split())] for v in columns.values())])
    (folder / "t.csv").write_text("\n".join(",".join(row) for row in rows))
    return str(folder / "t.csv")


@pytest.mark.parametrize(
    ("task", "columns", "said"),
    [
        ("sid", {"speakers": "a b", "label": "x y"}, "call the column 'speakers' 'speaker', or"),
        ("sid", {"label": "x y"}, "add it to the data, or another task: classify:label takes that"),
        ("er", {"emotions": "x y"}, "call the column 'emotions' 'emotion', or another task"),
        ("asr", {"texts": "x y"}, "call the column 'texts' 'text', or leave the task out"),
    ],
)
def test_a_missing_column_is_told_by_what_is_there(tmp_path, tone, task, columns, said):
    cuts = load_data(_table(tmp_path, tone, **columns))["train"]
    with pytest.raises(DataError) as caught:
        TASKS[task].from_cuts(cuts)
    assert said in str(caught.value.hint)
    first = next(iter(cuts))
    assert caught.value.where == f"cut {first.id} of {first.recording.sources[0].source}"


def test_how_data_was_split_is_said_once(tmp_path, tone, caplog):
    data = _table(tmp_path, tone, label="x y", dialect="p q")
    say_once.cache_clear()
    with caplog.at_level(logging.INFO, "speechft"):
        for _ in range(2):
            for task in ("classify:label", "classify:dialect"):
                TASKS[task].arrange(load_data(data))
    assert [one.message.count("split row by row") for one in caplog.records].count(1) == 1


def test_what_is_the_same_for_all_is_said(tmp_path, tone):
    data = _table(tmp_path, tone, speaker="a b", emotion="calm", dialect="cs", text="one two")
    said = [one for one in check_data(data).warnings if "nothing to tell apart" in one]
    assert said == [
        "train: all have the same emotion, calm: there is nothing to tell apart",
        "train: all have the same dialect, cs: there is nothing to tell apart",
    ]
