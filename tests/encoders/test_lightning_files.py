"""Lightning checkpoints with all that Lightning puts beside the weights."""

from __future__ import annotations

import datetime
import enum
import sys
import types
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch

from speechft.core.errors import CheckpointError
from speechft.encoders import load_encoder
from speechft.encoders.load import read_checkpoint

HUBERT = Path(__file__).parent.parent / "fixtures" / "parity" / "hubert-tiny.pt"


class ByName:
    """Is written as members of enumerations are by Python 3.11.0 to 3.11.3."""

    def __init__(self, *where):
        self.where = where

    def __reduce__(self):
        return getattr, self.where


@pytest.fixture
def lightning(monkeypatch):
    """Stand-ins for Lightning's classes, gone again when the file is read."""
    module = types.ModuleType("pytorch_lightning.callbacks")
    parent = types.ModuleType("pytorch_lightning")
    monkeypatch.setitem(sys.modules, "pytorch_lightning", parent)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name, base in (("ModelCheckpoint", object), ("AttributeDict", dict), ("Stage", enum.Enum)):
        content = {"FIT": "fit"} if base is enum.Enum else {}
        made = enum.Enum(name, content) if content else type(name, (base,), {})
        made.__module__ = module.__name__
        setattr(module, name, made)
    return module


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("prefix", ["encoder.model.", "model.encoder.", ""])
def test_everything_beside_the_weights_is_passed_over(
    tmp_path, lightning, monkeypatch, prefix, legacy
):
    weights = torch.load(HUBERT, weights_only=True)["model_weight"]
    content = {
        "epoch": 4,
        "pytorch-lightning_version": "1.9.5",
        "state_dict": {f"{prefix}{name}": tensor for name, tensor in weights.items()},
        "callbacks": {lightning.ModelCheckpoint: {"best_model_score": torch.tensor(0.5)}},
        "hyper_parameters": lightning.AttributeDict(lr=1e-4, path=PosixPath("/data/x")),
        "hparams_name": "config",
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "stage": lightning.Stage.FIT,
        "stages": [ByName(lightning.Stage, "FIT")],
        "scores": [np.float64(1.5), np.arange(3), np.float32(2)],
        "when": datetime.datetime(2023, 1, 1),
    }
    torch.save(content, tmp_path / "s.ckpt", _use_new_zipfile_serialization=not legacy)
    monkeypatch.undo()
    found = read_checkpoint(tmp_path / "s.ckpt", base=HUBERT)
    assert found.format == "spin"
    wanted = read_checkpoint(HUBERT)
    assert found.tensors.keys() == wanted.tensors.keys()
    assert all(torch.equal(found.tensors[n], t) for n, t in wanted.tensors.items())
    assert found.side.tensors.keys() == wanted.side.tensors.keys()
    assert load_encoder(tmp_path / "s.ckpt", base=HUBERT).fingerprint() == (
        load_encoder(HUBERT).fingerprint()
    )


def test_two_encoders_in_one_file_are_not_mixed(tmp_path):
    weights = torch.load(HUBERT, weights_only=True)["model_weight"]
    both = {f"{side}.{name}": t for side in ("student", "teacher") for name, t in weights.items()}
    torch.save({"state_dict": both}, tmp_path / "s.ckpt")
    with pytest.raises(CheckpointError, match=r"several encoders[\s\S]*student[\s\S]*teacher"):
        load_encoder(tmp_path / "s.ckpt", base=HUBERT)


def test_what_is_assumed_is_said(tmp_path, caplog):
    weights = torch.load(HUBERT, weights_only=True)["model_weight"]
    torch.save({"state_dict": weights}, tmp_path / "s.ckpt")
    read_checkpoint(tmp_path / "s.ckpt")
    assert "4 attention heads and post-norm layers are assumed" in caplog.text
    caplog.clear()
    read_checkpoint(tmp_path / "s.ckpt", base=HUBERT)
    assert "assumed" not in caplog.text
    for name in ("encoder.layers.0.fc1.weight", "feature_extractor.conv_layers.3.0.weight"):
        torch.save(
            {"state_dict": {n: t for n, t in weights.items() if n != name}}, tmp_path / "t.pt"
        )
        with pytest.raises(CheckpointError, match=rf"lacks tensors[\s\S]*{name}"):
            read_checkpoint(tmp_path / "t.pt")
