"""`do_normalize` was lost without a word where weights have another name, or with `--base`.

`hubert.safetensors` beside `config.json` and `preprocessor_config.json`, and a checkpoint without
settings read with `base`, took the configuration from there but not the preprocessor. A `.ckpt`
with transformers' names was no way in at all: its message asked for `config.json` beside it, which
was there, and the folder's message asked for other weights.
"""

from __future__ import annotations

import pytest
import torch
from evaluate_fixture import CONFIG

from speechft.encoders import build_encoder, load_encoder


@pytest.fixture
def folder(tmp_path):
    encoder = build_encoder({**CONFIG, "do_normalize": True}, 0)
    return encoder.save(tmp_path / "encoder")


@pytest.mark.parametrize("name", ["hubert.safetensors", "hubert.ckpt"])
def test_the_preprocessor_beside_the_file_is_read(folder, name):
    weights = folder / "model.safetensors"
    if name.endswith(".ckpt"):
        torch.save(load_encoder(folder).model.state_dict(), folder / name)
        weights.unlink()
    else:
        weights.rename(folder / name)
    assert load_encoder(folder / name).normalize
    assert load_encoder(folder).normalize


def test_the_preprocessor_of_the_base_is_read(folder, tmp_path):
    torch.save(load_encoder(folder).model.state_dict(), tmp_path / "bare.pt")
    assert load_encoder(tmp_path / "bare.pt", base=folder).normalize


def test_a_file_with_settings_needs_nothing_beside_it(folder, tmp_path):
    from speechft.encoders.formats.write import write_checkpoint
    from speechft.encoders.load import read_checkpoint

    file = write_checkpoint(read_checkpoint(folder), tmp_path / "file.pt", "fairseq")
    (tmp_path / "config.json").write_text('{"model_type": "none at all"}')
    assert load_encoder(file).normalize
