"""`accelerate launch` says how often gradients are accumulated, in the environment.

Accelerate divided the loss by that, though nothing was accumulated: norms were a part of what they
were, and clipping did nothing.
"""

from __future__ import annotations

import json

from finetune_fixture import settings

from speechft.encoders import build_encoder
from speechft.training.finetune.stage import finetune


def test_the_launcher_changes_no_gradient(tmp_path, tiny_config, monkeypatch):
    base, norms = build_encoder(tiny_config, seed=0).save(tmp_path / "base"), []
    for steps in ("1", "8"):
        monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", steps)
        out = finetune(settings(base, tmp_path / steps, steps=1))
        first, *_ = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        norms.append(first["gradient_norm"])
    assert norms[0] == norms[1] > 0
