"""Averages of the weights: what they are, kept beside the others, the same when a run goes on."""

import signal

import pytest
import torch
from finetune_fixture import kill_at, moved, settings, tensors
from safetensors.torch import load_file
from torch import nn

from speechft.encoders import build_encoder
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.training.averaging import Average, exponential, over_the_last
from speechft.training.finetune.stage import finetune
from speechft.training.loop import Loop


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def averaged(share, rows):
    module = nn.Linear(3, 1, bias=False)
    average = Average("one", share)
    for update, row in enumerate(rows, 1):
        module.weight.data = row[None].clone()
        average.take(module, update)
    return module, average


def test_the_mean_is_that_of_the_last_updates_and_the_exponential_one_follows_its_rule():
    rows = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).double()
    module, average = averaged(over_the_last(0.25, 10), rows)
    torch.testing.assert_close(average.values["weight"][0], rows[7:].mean(0))
    wanted = rows[0]
    for update, row in enumerate(rows[1:], 2):
        decay = min(0.3, (1 + update) / (10 + update))
        wanted = decay * wanted + (1 - decay) * row
    module, average = averaged(exponential(0.3), rows)
    torch.testing.assert_close(average.values["weight"][0], wanted)
    with average.in_place(module):
        torch.testing.assert_close(module.weight[0].detach(), wanted)
    assert torch.equal(module.weight[0], rows[-1])


def test_a_run_keeps_both_with_their_heads_and_merge_takes_them(base, tmp_path, monkeypatch):
    seen = []
    update = Loop._update

    def noted(loop, batches):
        done = update(loop, batches)
        seen.append({n: p.detach().clone() for n, p in loop.objective.module.named_parameters()})
        return done

    monkeypatch.setattr(Loop, "_update", noted)
    out = finetune(settings(base, tmp_path / "run", ema=0.9, average_last=0.2, learning_rate=3e-3))
    mean = {n: torch.stack([one[n] for one in seen[16:]]).mean(0) for n in seen[0]}
    found = tensors(out / "encoder-average")
    names = [n for n in found if n in {k.removeprefix("encoder.model.") for k in mean}]
    assert len(names) > 20
    for name in names:
        torch.testing.assert_close(found[name], mean[f"encoder.model.{name}"])
    assert moved(out / "encoder-average", out / "encoder")
    head = load_file(out / "encoder-average" / "head.safetensors")
    for name, value in head.items():
        torch.testing.assert_close(value, mean[f"head.{name}"])
    assert moved(out / "encoder-ema", out / "encoder")
    merged = merge(
        MergeSettings(base=base, tuned=(out / "encoder-ema",), alpha=1.0, out=tmp_path / "merged")
    )
    assert not moved(merged, out / "encoder-ema")


@pytest.mark.parametrize("method", ["stable", "lora"])
def test_a_killed_run_has_the_same_averages(base, tmp_path, method):
    chosen = {"ema": 0.9, "average_last": 0.5, "steps": 12, "method": method}
    whole = finetune(settings(base, tmp_path / "whole", **chosen))
    stopped = settings(base, tmp_path / "stopped", **chosen)
    assert kill_at(stopped, 9) == -signal.SIGKILL
    finetune(stopped)
    for name in ("encoder-ema", "encoder-average", "encoder"):
        assert not moved(stopped.out / name, whole / name)
    assert moved(whole / "encoder-ema", whole / "encoder")


def test_averages_change_nothing_else(base, tmp_path):
    plain = finetune(settings(base, tmp_path / "plain"))
    out = finetune(settings(base, tmp_path / "run", ema=0.99, average_last=0.5))
    assert not moved(plain / "encoder", out / "encoder")
    assert not (plain / "encoder-ema").exists()


def test_a_mean_of_the_last_updates_needs_to_know_the_last_one(base, tmp_path):
    with pytest.raises(ValueError, match="take patience away"):
        settings(base, tmp_path / "run", average_last=0.5, patience=1)
