"""Advice named what the user had just given, and "[Errno None]" stood in messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from speechft.cli.error_messages import explain
from speechft.core.errors import CheckpointError, DataError, SpeechFTError
from speechft.core.limits import regular_file
from speechft.core.nearest_names import did_you_mean, nearest
from speechft.data.corpus_tree import no_folder
from speechft.data.data_names import refuse_absent_data
from speechft.encoders.identity import read_json_object


def test_a_link_that_leads_nowhere_is_not_the_advice(tmp_path: Path) -> None:
    (tmp_path / "data.csv").symlink_to("gone.csv")
    with pytest.raises(DataError) as caught:
        refuse_absent_data(str(tmp_path / "data.csv"))
    assert "did you mean" not in str(caught.value)
    (tmp_path / "date.csv").touch()
    with pytest.raises(DataError, match=r"did you mean 'date\.csv'\?"):
        refuse_absent_data(str(tmp_path / "data.csv"))


def test_no_list_of_names_proposes_the_one_it_was_asked_for() -> None:
    assert nearest("text", ["text", "next"]) == ["next"]
    assert did_you_mean("pr", ["pr", "sid"]) == "known: sid"
    assert did_you_mean("pr", ["pr"]) == "nothing is known here"
    assert nearest("PR", ["pr"]) == ["pr"]


def test_a_corpus_that_is_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "timit").mkdir()
    assert "did you mean" not in str(no_folder(tmp_path / "timit", "get it"))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_said_without_a_number(
    tmp_path: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "config.json")
    with pytest.raises(CheckpointError) as caught:
        read_json_object(tmp_path / "config.json")
    assert caught.value.found == "this is no regular file"
    with pytest.raises(OSError, match="no regular file") as bare:
        regular_file(tmp_path / "config.json")
    assert explain(bare.value, ["merge"]) == 2
    assert "Errno" not in capsys.readouterr().err


def test_what_the_system_says_is_said_in_its_words() -> None:
    error = OSError(13, "Permission denied", "a/b")
    assert SpeechFTError("no", where="a/b", found=error).found == "Permission denied"
    assert SpeechFTError("no", where="a", found=error).found == "Permission denied: a/b"
    bare = SpeechFTError("no", found=OSError("a library's own words"))
    assert bare.found == "a library's own words"
