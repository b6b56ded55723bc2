"""Names that were read became paths anywhere.

A split named `../../x`, or by an absolute path, was written there by `data prepare`; the index of a
sharded checkpoint that names `../../private.safetensors` was read there by `merge`, and by
`load_encoder` under the last part of the name.
"""

from __future__ import annotations

import json
import os
import stat
import time

import pytest
import torch
from safetensors.torch import save_file

from speechft.core.errors import CheckpointError, DataError
from speechft.data.load import load_data
from speechft.data.prepare import prepare_data
from speechft.encoders.formats.hf import read_tensors
from speechft.merging.sources import open_folder


@pytest.mark.parametrize("split", ["../../x", "/tmp/x", "..", "a/b", "a\\..\\b", "x" * 300])
def test_a_split_that_would_be_written_elsewhere(tmp_path, tone, split):
    tone("a.wav")
    table = tmp_path / "t.csv"
    table.write_text(f"audio,split\na.wav,{split}\n")
    out = tmp_path / "below" / "further" / "out"
    for act in (lambda: prepare_data(str(table), out), lambda: load_data(str(table))):
        with pytest.raises(DataError, match="cannot be called so: it"):
            act()
    assert not list(tmp_path.rglob("*.jsonl.gz"))


@pytest.mark.parametrize("absolute", [True, False])
def test_a_shard_that_lies_elsewhere(tmp_path, absolute):
    secret = tmp_path / "private.safetensors"
    save_file({"a": torch.zeros(2)}, secret)
    folder = tmp_path / "one" / "encoder"
    folder.mkdir(parents=True)
    save_file({"a": torch.ones(2)}, folder / "private.safetensors")
    name = str(secret) if absolute else "../../private.safetensors"
    index = {"metadata": {}, "weight_map": {"a": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"model_type": "hubert"}')
    for read in (read_tensors, open_folder):
        with pytest.raises(CheckpointError, match=r"name of a shard[\s\S]*leaves its folder"):
            read(folder)


def test_named_pipes_are_no_files(tmp_path, tone):
    """A named pipe among cuts, or as the audio of a cut, was waited for without an end."""
    begin = time.monotonic()
    os.mkfifo(tmp_path / "train.jsonl")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        load_data(str(tmp_path / "train.jsonl"))
    with pytest.raises(DataError, match="holds no cuts"):
        load_data(str(tmp_path))
    assert stat.S_ISFIFO((tmp_path / "train.jsonl").stat().st_mode)
    assert time.monotonic() - begin < 2
