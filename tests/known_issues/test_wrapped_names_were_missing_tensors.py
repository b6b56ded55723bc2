"""Weights of compiled, parallel or sharded modules were 83 missing and 83 unknown tensors.

`torch.compile`, `DataParallel`, FSDP and activation checkpointing put parts of their own into
names, in front, amid, and several at once. Files were read with some of them, folders with none.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechft import load_encoder, merge
from speechft.encoders.identity import locate

SOURCE = locate("tiny-hubert")
WRAPPED = {
    "compiled": ("", "_orig_mod."),
    "parallel": ("", "module."),
    "both": ("", "module._orig_mod."),
    "under the head": ("", "hubert._orig_mod."),
    "Lightning": ("", "model."),
    "amid": ("encoder.layers.", "encoder._orig_mod.layers."),
    "every layer": ("encoder.layers.0.", "encoder.layers.0._checkpoint_wrapped_module."),
    "sharded": ("encoder.", "_fsdp_wrapped_module.encoder."),
}


@pytest.mark.parametrize(("start", "wrapped"), WRAPPED.values(), ids=WRAPPED)
def test_every_reader_gives_the_encoder(tmp_path: Path, start: str, wrapped: str) -> None:
    stored = load_file(SOURCE / "model.safetensors")
    tensors = {
        wrapped + n.removeprefix(start) if n.startswith(start) else n: t for n, t in stored.items()
    }
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(SOURCE / name, folder / name)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    torch.save({"state_dict": tensors}, tmp_path / "file.ckpt")
    wanted = load_encoder(SOURCE).fingerprint()
    assert load_encoder(folder).fingerprint() == wanted
    assert load_encoder(tmp_path / "file.ckpt", base=SOURCE).fingerprint() == wanted
    out = merge(base=str(SOURCE), tuned=[str(folder)], alpha=0, out=tmp_path / "out")
    assert load_encoder(out).fingerprint() == wanted
