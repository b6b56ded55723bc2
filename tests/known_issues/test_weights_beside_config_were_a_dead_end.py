"""A folder with config.json and `wavlm.ckpt` was refused: a reader sent from one to the other.

A folder whose only weights have another name than transformers' is read with them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from speechft import convert, load_encoder, merge
from speechft.core.errors import CheckpointError
from speechft.encoders.identity import locate

SOURCE = locate("tiny-wavlm")


@pytest.mark.parametrize("kind", ["original", "transformers"])
def test_the_only_weights_of_a_folder_are_read(tmp_path: Path, kind: str) -> None:
    if kind == "original":
        convert(source=str(SOURCE), target=tmp_path / "wavlm.pt", to="s3prl")
        (tmp_path / "wavlm.pt").rename(tmp_path / "wavlm.ckpt")
    else:
        torch.save(load_file(SOURCE / "model.safetensors"), tmp_path / "wavlm.ckpt")
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(SOURCE / name, tmp_path / name)
    wanted = load_encoder(SOURCE).fingerprint()
    assert load_encoder(tmp_path).fingerprint() == wanted
    assert load_encoder(tmp_path / "wavlm.ckpt").fingerprint() == wanted
    out = merge(base=str(tmp_path), tuned=[str(SOURCE)], alpha=0, out=tmp_path / "out")
    assert load_encoder(out).fingerprint() == wanted
    shutil.copy(tmp_path / "wavlm.ckpt", tmp_path / "second.ckpt")
    with pytest.raises(CheckpointError, match=r"second\.ckpt or .*wavlm\.ckpt"):
        load_encoder(tmp_path)
