"""How long a run is: epochs, and an early end by dev figures."""

import json
import math
import shutil
import signal

import pytest
from evaluate_fixture import write_tones
from finetune_fixture import kill_at, moved, settings

from speechft.core.errors import SettingsError
from speechft.encoders import build_encoder
from speechft.training.finetune.kept_encoders import Keeper
from speechft.training.finetune.objective import FineTuning
from speechft.training.finetune.stage import finetune


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def heard(monkeypatch):
    batches = []
    loss = FineTuning.loss

    def noted(self, indices, items):
        batches.append(list(indices))
        return loss(self, indices, items)

    monkeypatch.setattr(FineTuning, "loss", noted)
    return batches


def record(out):
    return json.loads((out / "speechft.json").read_text())


def test_every_utterance_is_heard_once_an_epoch(base, tmp_path, monkeypatch):
    batches = heard(monkeypatch)
    table = str(write_tones(tmp_path / "data"))
    more = {"steps": None, "epochs": 3, "data": table, "seconds": 2, "evaluate_every": 0}
    out = finetune(settings(base, tmp_path / "run", **more))
    counts = [sum(batch.count(i) for batch in batches) for i in range(12)]
    assert counts == [3] * 12
    assert record(out)["updates"] == record(out)["settings"]["steps"] == len(batches) > 3
    assert record(out)["depends"]["epochs"] == 3
    total = len(batches)
    batches.clear()
    finetune(settings(base, tmp_path / "half", **more | {"accumulate": 2}))
    assert len(batches) == 2 * math.ceil(total / 2)
    batches.clear()
    finetune(settings(base, tmp_path / "part", **more | {"epochs": 0.4}))
    assert 0 < len(batches) < total / 3


def test_of_two_tasks_the_one_with_most_batches_has_its_epochs(base, tmp_path, monkeypatch):
    batches = heard(monkeypatch)
    table = str(write_tones(tmp_path / "data"))
    more = {"steps": None, "epochs": 2, "data": table, "seconds": 2, "task": "pr,sid"}
    finetune(settings(base, tmp_path / "run", **more))
    first = [i for batch in batches for i in batch if i < 12]
    second = [i - 12 for batch in batches for i in batch if i >= 12]
    assert sorted(first) == sorted([*range(12)] * 2) or sorted(second) == sorted([*range(12)] * 2)


def test_steps_and_epochs_are_not_given_both(base, tmp_path):
    with pytest.raises(ValueError, match="give one of them"):
        settings(base, tmp_path / "run", epochs=2)
    paper = settings(base, tmp_path / "run", epochs=2, steps=None, preset="paper")
    assert (paper.epochs, paper.steps) == (2, None)


def test_a_run_ends_when_dev_figures_have_not_improved(base, tmp_path, monkeypatch):
    """Dev figures at updates 2, 4, …: the best one comes second, and two worse ones follow."""
    best = Keeper.best
    figures = {2: 50.0, 4: 60.0, 6: 60.0, 8: 10.0}
    monkeypatch.setattr(
        Keeper, "best", lambda self, _, p: best(self, {"acc": figures[p.update]}, p)
    )
    more = {"evaluate_every": 2, "patience": 2, "keep_at": (0.2, 0.5)}
    out = finetune(settings(base, tmp_path / "run", **more))
    assert record(out)["updates"] == 8
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert max(line["update"] for line in lines) == 8
    assert not moved(out / "encoder-best", out / "encoder-at-20")
    assert moved(out / "encoder-best", out / "encoder")
    assert not (out / "encoder-at-50").exists()
    shutil.rmtree(out / "encoder")
    again = finetune(settings(base, tmp_path / "run", **more))
    assert record(again)["updates"] == 8


def test_a_killed_run_ends_where_it_would_have(base, tmp_path):
    more = {"evaluate_every": 1, "save_every": 3, "patience": 4, "learning_rate": 1e-9}
    whole = finetune(settings(base, tmp_path / "whole", **more))
    stopped = settings(base, tmp_path / "stopped", **more)
    assert record(whole)["updates"] == 5  # at no rate to speak of the first figures are the best
    assert kill_at(stopped, 4) == -signal.SIGKILL
    finetune(stopped)
    assert record(stopped.out)["updates"] == 5
    assert not moved(stopped.out / "encoder", whole / "encoder")


def test_patience_needs_figures(base, tmp_path):
    with pytest.raises(ValueError, match="evaluate_every"):
        settings(base, tmp_path / "run", patience=1, evaluate_every=0)
    with pytest.raises(SettingsError, match="no dev split"):
        finetune(settings(base, tmp_path / "run", patience=1, data=without_dev(tmp_path)))


def without_dev(folder):
    table = write_tones(folder / "data")
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    table.write_text("".join(json.dumps(r) + "\n" for r in rows if r["split"] != "dev"))
    return str(table)


def test_a_missing_dev_split_is_said(base, tmp_path, caplog):
    more = {"steps": 2, "evaluate_every": 0}
    for data, said in ((str(write_tones(tmp_path / "all")), 0), (without_dev(tmp_path), 1)):
        caplog.clear()
        finetune(settings(base, tmp_path / f"run-{said}", data=data, **more))
        assert caplog.text.count("no dev split for sid") == said
