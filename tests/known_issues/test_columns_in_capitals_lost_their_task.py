"""`classify:Emotion` found no column in a table with `Emotion`, which is read as `emotion`.

And `Audio` was no audio beside a `File_Name`, which is another name of it.
"""

from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.load import load_data
from speechft.tasks import TASKS


def table(tmp_path, tone, header: str, rows: list[str]) -> str:
    tone("a.wav")
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(tmp_path / "t.csv")


def test_the_name_as_the_table_writes_it_is_the_column(tmp_path, tone):
    rows = [f"a.wav,{mood},{split}" for split in ("train", "dev", "test") for mood in "xy"]
    data = load_data(table(tmp_path, tone, "audio,Emotion,split", rows))
    for name in ("Emotion", "emotion"):
        task = TASKS[f"classify:{name}"]
        task.check(cut for cuts in data.values() for cut in cuts)
        assert [task.value(cut) for cut in data["dev"]] == ["x", "y"]
    texts = table(tmp_path, tone, "audio,Transcription,split", ["a.wav,a cat,train"])
    assert TASKS["ctc:Transcription"].value(load_data(texts)["train"][0]) == list("a|cat")
    with pytest.raises(DataError, match="no column 'Mood'"):
        TASKS["classify:Mood"].check(data["dev"])


def test_our_own_names_come_before_others(tmp_path, tone):
    data = load_data(table(tmp_path, tone, "File_Name,Audio,split", ["nothing.wav,a.wav,train"]))
    assert data["train"][0].recording.sources[0].source.endswith("a.wav")
