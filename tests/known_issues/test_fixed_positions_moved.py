"""Whisper's table of positions, which nobody trains, moved in fine-tuning."""

from __future__ import annotations

import pytest
from family_configs import FAMILIES, config_of
from finetune_fixture import moved, settings

from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.checkpoint import new_model
from speechft.encoders.inspect import InspectSettings, inspect
from speechft.training.finetune.stage import finetune


@pytest.mark.parametrize("family", FAMILIES)
def test_what_transformers_holds_fixed_is_not_movable(family, tmp_path):
    build_encoder(config_of(family), seed=0).save(tmp_path / "encoder")
    encoder = load_encoder(tmp_path / "encoder")
    theirs = new_model(encoder.config).named_parameters()
    own = encoder.encoder_parameters()
    fixed = {name for name, p in theirs if not p.requires_grad and name in own}
    assert own.keys() - encoder.movable_parameters().keys() == fixed
    assert bool(fixed) == (family == "whisper")
    positions = {
        g.name: g.merge for g in inspect(InspectSettings(path=str(tmp_path / "encoder"))).groups
    }.get("positions", "")
    assert ("training leaves this table" in positions) == bool(fixed)


def test_they_stay_where_they_are(tmp_path):
    build_encoder(config_of("whisper"), seed=0).save(tmp_path / "base")
    out = finetune(settings(tmp_path / "base", tmp_path / "run", steps=3, context="utterance"))
    names = moved(out / "encoder", tmp_path / "base")
    assert names
    assert not [name for name in names if "embed_positions" in name]
