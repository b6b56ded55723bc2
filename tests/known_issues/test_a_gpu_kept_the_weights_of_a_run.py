"""Weights of a run that had ended stayed where they were until Python looked for circles.

A GPU with little memory had none for the next run of the same process, or cut its batches smaller.
"""

from __future__ import annotations

import gc
import weakref

import pytest
from finetune_fixture import settings

from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.training.finetune.stage import finetune
from speechft.training.loop import Loop
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import pretrain


@pytest.mark.parametrize("stage", ["finetune", "pretrain"])
def test_nothing_is_left(tmp_path, tiny_config, monkeypatch, stage):
    seen, real = [], Loop.run

    def run(loop):
        seen.append(weakref.ref(loop.objective.module))
        return real(loop)

    monkeypatch.setattr(Loop, "run", run)
    given = {"data": "synthetic:tiny", "out": tmp_path / "run", "steps": 2}
    gc.collect()
    gc.disable()
    try:
        if stage == "finetune":
            base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
            finetune(settings(base, given["out"], steps=2))
        else:
            more = {"init": tiny_config, "clusters": 8, "fit_seconds": 20, "seconds": 10}
            pretrain(parse_settings(PretrainSettings, given | more, "test"))
        assert len(seen) == 1
        assert seen[0]() is None
    finally:
        gc.enable()
