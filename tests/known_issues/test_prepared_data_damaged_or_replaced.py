"""`data prepare` took a folder with a damaged split for done; `--force` removed the user's files.

An empty folder was refused, as it "holds something else".
"""

from __future__ import annotations

import pytest

from speechft.core.errors import SettingsError
from speechft.data.load import load_data
from speechft.data.prepare import prepare_data


@pytest.fixture
def table(tmp_path, tone):
    tone("a.wav")
    path = tmp_path / "t.csv"
    path.write_text("audio,text,split\na.wav,yes,train\n")
    return path


def test_a_damaged_split_is_written_again(table, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    prepare_data(str(table), out)
    split = out / "train.jsonl.gz"
    whole, written = split.read_bytes(), split.stat().st_mtime_ns
    prepare_data(str(table), out)
    assert split.stat().st_mtime_ns == written
    split.write_bytes(whole[:-30])
    prepare_data(str(table), out)
    assert split.read_bytes() == whole
    assert len(load_data(str(out))["train"]) == 1


def test_files_of_the_user_stay(table, tmp_path):
    out = tmp_path / "out"
    prepare_data(str(table), out)
    (out / "notes.txt").write_text("mine")
    (out / "sub").mkdir()
    (out / "sub" / "x.tmp").write_text("mine")
    table.write_text("audio,text,split\na.wav,yes,test\n")
    prepare_data(str(table), out)
    prepare_data(str(table), out, force=True)
    assert (out / "notes.txt").read_text() == (out / "sub" / "x.tmp").read_text() == "mine"
    assert list(load_data(str(out))) == ["test"]
    with pytest.raises(SettingsError, match="something else in the output"):
        prepare_data(str(table), out / "sub")
