"""`convert --to hf` of a folder lost generation_config.json and the tokenizer without a word."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from speechft import convert
from speechft.encoders.identity import locate


def test_they_go_along_and_the_rest_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    shutil.copytree(locate("tiny-hubert"), source)
    for name in ("generation_config.json", "vocab.json", "training_args.bin"):
        (source / name).write_text("{}")
    for _ in range(2):  # again in the place of the first
        with caplog.at_level(logging.INFO):
            out = convert(source=str(source), target=tmp_path / "out", to="hf")
        assert (out / "generation_config.json").read_text() == "{}"
        assert (out / "vocab.json").is_file()
        assert not (out / "training_args.bin").exists()
    assert "left behind of the source's folder" in caplog.text
    assert "training_args.bin" in caplog.text
