"""DeepSpeed's ZeRO-3 saves empty tensors; each was said as a wrong shape, in 83 lines."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechft import load_encoder, merge
from speechft.core.errors import CheckpointError
from speechft.encoders.identity import locate

SOURCE = locate("tiny-hubert")


def test_one_line_names_them(tmp_path: Path) -> None:
    shutil.copy(SOURCE / "config.json", tmp_path / "config.json")
    tensors = {
        n: t if t.ndim == 1 else torch.empty(0)
        for n, t in load_file(SOURCE / "model.safetensors").items()
    }
    save_file(tensors, tmp_path / "model.safetensors")
    torch.save({"model": tensors}, tmp_path / "global_step.pt")
    for call in (
        lambda: load_encoder(tmp_path),
        lambda: load_encoder(tmp_path / "global_step.pt"),
        lambda: merge(base=str(SOURCE), tuned=[str(tmp_path)], out=tmp_path / "out"),
    ):
        with pytest.raises(CheckpointError, match="zero_to_fp32") as caught:
            call()
        assert caught.value.what.startswith("the weights are empty: ")
        assert len(caught.value.render().splitlines()) == 4
