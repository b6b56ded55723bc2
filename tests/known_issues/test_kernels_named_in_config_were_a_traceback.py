"""A config.json that names kernels of another machine ended in an ImportError of transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from speechft import load_encoder
from speechft.encoders.identity import locate

SOURCE = locate("tiny-hubert")


@pytest.mark.parametrize("kernels", ["flash_attention_2", "kernels-community/flash-attn", "none"])
@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
def test_kernels_are_chosen_by_this_machine(tmp_path: Path, key: str, kernels: str) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(SOURCE, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: kernels}))
    assert load_encoder(folder).fingerprint() == load_encoder(SOURCE).fingerprint()
