"""A run that was killed behind its best encoder, on a device whose last bits differ, was lost."""

import signal

from finetune_fixture import kill_at, settings

from speechft.core.heard import read_heard
from speechft.encoders import build_encoder
from speechft.training.finetune.objective import FineTuning
from speechft.training.finetune.stage import finetune


def test_the_best_encoder_is_that_of_a_state(tmp_path, tiny_config, monkeypatch):
    base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    figures = [10.0, 50.0]
    monkeypatch.setattr(FineTuning, "evaluate", lambda _: {"acc": figures.pop(0)})
    chosen = settings(base, tmp_path / "run", steps=8, evaluate_every=2, save_every=3)
    assert kill_at(chosen, 5) == -signal.SIGKILL  # the best one is of update 4
    states = [path.name for path in (chosen.out / "checkpoints").glob("*.pt")]
    assert states == ["update-4.pt"]
    figures[:] = [9.0, 8.0]
    finetune(chosen)
    assert not figures
    assert read_heard(chosen.out / "encoder-best").dev_speakers
