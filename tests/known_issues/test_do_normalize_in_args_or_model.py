"""fairseq files that say `normalize` beside the model's settings, or in `args`, lost it silently.

The task's settings alone were asked, and where they did not say it the answer was no. Where nothing
says it now, what is usual for the kind of encoder is taken, with a warning.
"""

from __future__ import annotations

import logging

import pytest
import torch
from evaluate_fixture import CONFIG

from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.formats.write import write_checkpoint
from speechft.encoders.load import read_checkpoint


@pytest.fixture
def content(tmp_path):
    encoder = build_encoder({**CONFIG, "do_normalize": True}, 0)
    folder = encoder.save(tmp_path / "encoder")
    file = write_checkpoint(read_checkpoint(folder), tmp_path / "file.pt", "fairseq")
    content = torch.load(file, weights_only=True)
    del content["cfg"]["task"]["normalize"]
    return content


def _load(content, folder):
    torch.save(content, folder / "changed.pt")
    return load_encoder(folder / "changed.pt")


def test_the_model_says_it(content, tmp_path):
    content["cfg"]["model"]["normalize"] = True
    assert _load(content, tmp_path).normalize


def test_the_arguments_say_it(content, tmp_path):
    content["args"] = {"normalize": True}
    assert _load(content, tmp_path).normalize


def test_the_task_says_no_and_goes_first(content, tmp_path):
    content["cfg"]["task"]["normalize"] = False
    content["cfg"]["model"]["normalize"] = True
    assert not _load(content, tmp_path).normalize


def test_nothing_says_it(content, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert not _load(content, tmp_path).normalize
    assert "does not say `normalize`" in caplog.text
