"""Two commands with one output: a traceback, or the other one's work named as a thing to remove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from speechft import convert, merge
from speechft.core.errors import SettingsError
from speechft.core.files import atomic_dir
from speechft.data.prepare import prepare_data
from speechft.encoders import build_encoder
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import check_output

AT_WORK = "another speechft is at work in this folder"


@pytest.fixture
def home(tmp_path: Path, tiny_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two encoders."""
    monkeypatch.chdir(tmp_path)
    build_encoder(tiny_config, seed=0).save("base")
    build_encoder(tiny_config, seed=1).save("tuned")
    return tmp_path


def test_the_second_to_end_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=AT_WORK), atomic_dir(tmp_path / "out") as slow:
        (slow / "a").write_text("slow")
        with atomic_dir(tmp_path / "out") as fast:
            (fast / "a").write_text("fast")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/a").read_text() == "fast"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_another_writes_is_not_in_the_way(home: Path, overwrite: bool) -> None:
    Path("out").mkdir()
    with atomic_dir("out") as work:
        with pytest.raises(SettingsError, match=AT_WORK):
            convert(source="base", target="out", to="hf", overwrite=overwrite)
        with pytest.raises(SettingsError, match=AT_WORK):
            merge(base="base", tuned=["tuned"], out="out")
        with pytest.raises(SettingsError, match=AT_WORK):
            prepare_data("data.csv", Path("out"))
        assert work.is_dir()


def test_a_merge_that_was_killed_while_it_moved_is_no_stranger(home: Path) -> None:
    merge(base="base", tuned=["tuned"], out="out")
    killed = Path("out/.speechft-abcd1234.tmp")
    killed.mkdir()
    record = Path("out/speechft.json").rename(killed / "speechft.json")
    (killed / ".moves.json").write_text(
        json.dumps({"replaces": [record.name], "moves": [record.name]})
    )
    settings = MergeSettings(base="base", tuned=["tuned"], out="out")
    check_output(settings, Path("out"))  # as a refit asks before all else
    assert not killed.exists()
