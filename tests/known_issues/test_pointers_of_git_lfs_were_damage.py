"""A clone without git-lfs holds pointers: they were "cut short", and copying again did not help."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from speechft import inspect, merge
from speechft.core.errors import CheckpointError
from speechft.encoders.identity import locate

SOURCE = locate("tiny-hubert")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 94371840\n"
PAGE = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"


@pytest.mark.parametrize(
    ("content", "found"), [(POINTER, "run `git lfs pull`"), (PAGE, "a page of a website")]
)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "wavlm.ckpt"])
def test_it_is_said_what_they_are(tmp_path: Path, name: str, content: str, found: str) -> None:
    shutil.copy(SOURCE / "config.json", tmp_path / "config.json")
    (tmp_path / name).write_text(content)
    for call in (
        lambda: inspect(path=str(tmp_path)),
        lambda: merge(base=str(SOURCE), tuned=[str(tmp_path)], out=tmp_path / "out"),
    ):
        with pytest.raises(CheckpointError, match=found):
            call()


def test_weights_that_may_not_be_read_are_not_cut_short(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    from speechft.encoders.identity import damage

    assert damage(tmp_path / "model.safetensors", "?")["found"] == "No such file or directory"
