"""Feature replay: hidden states stay near θ0's, for a family that cannot rehearse too."""

from __future__ import annotations

import json

import pytest
import torch
from family_configs import config_of
from finetune_fixture import moved, settings
from pydantic import ValidationError

from speechft.core.errors import SettingsError
from speechft.encoders import build_encoder, load_encoder
from speechft.training.finetune.stage import finetune

GIVEN = {"rehearsal_share": 0.5, "rehearsal_data": "synthetic:tiny", "rehearsal_seconds": 20.0}


def losses(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


def distance(encoder, base):
    waves = [torch.sin(torch.arange(8000) * f / 16000) for f in (800, 1500)]
    with torch.no_grad():
        one, other = (e(waves).hidden_states[-1] for e in (encoder, base))
    return float((one - other).square().mean() / other.var())


@pytest.mark.parametrize("family", ["hubert", "whisper"])
def test_replay_holds_the_hidden_states(family, tmp_path):
    base = build_encoder(config_of(family), seed=0)
    folder = base.save(tmp_path / "base")
    context = {"context": "utterance"} if family == "whisper" else {}
    plain = finetune(settings(folder, tmp_path / "plain", **context))
    out = finetune(
        settings(folder, tmp_path / "out", steps=40, method="replay", **GIVEN, **context)
    )
    found = [row["replay_loss"] for row in losses(out) if "replay_loss" in row]
    assert len(found) == len(losses(out)) / 2
    assert found[0] == 0.0 < found[-1]
    assert moved(out / "encoder", folder)
    tuned = [load_encoder(run / "encoder") for run in (out, plain)]
    if family == "whisper":
        base.use_context("utterance")
    assert distance(tuned[0], base) < distance(tuned[1], base)


def test_what_replay_needs_and_does_not_read(tmp_path):
    with pytest.raises((ValidationError, SettingsError), match="method replay needs"):
        settings("tiny-hubert", tmp_path, method="replay")
    with pytest.raises((ValidationError, SettingsError), match="rehearsal_clusters is read only"):
        settings("tiny-hubert", tmp_path, method="replay", rehearsal_clusters=7, **GIVEN)
