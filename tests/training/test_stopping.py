"""Ctrl-C and SIGTERM, training that comes to nothing, one run per folder, threads."""

import json
import os
import signal
import time

import pytest
import torch
from finetune_fixture import settings, tensors
from safetensors.torch import load_file

from speechft.core.devices import computing_threads
from speechft.core.errors import DivergedError, SettingsError
from speechft.core.locks import work_alone
from speechft.core.stopping import Stopped, StopRequest
from speechft.encoders import build_encoder
from speechft.training import distributed
from speechft.training.finetune.objective import FineTuning
from speechft.training.finetune.stage import finetune
from speechft.training.loop import Loop
from speechft.training.pretrain.masked_prediction import MaskedPrediction
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import pretrain


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def short(base, out, **more):
    return settings(
        base, out, **{"steps": 6, "save_every": 50, "evaluate_every": 50, "threads": 1, **more}
    )


def pretraining(base, out, **more):
    units = {"steps": 6, "clusters": 6, "layer": 1, **more}
    given = {"data": "synthetic:tiny", "seconds": 10, "save_every": 50, "threads": 1}
    return PretrainSettings(init=str(base), out=out, iterations=[units], **given)


def signalled_at(monkeypatch, update, number, times=1):
    """Send this process a signal in the middle of an update, some time apart."""
    real = Loop._update

    def told(loop, batches):
        if loop.progress.update + 1 == update:
            for _ in range(times):
                os.kill(os.getpid(), number)
                time.sleep(0.4 if times > 1 else 0)
        return real(loop, batches)

    monkeypatch.setattr(Loop, "_update", told)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("stage", ["finetune", "pretrain"])
def test_a_signal_keeps_the_state_of_this_moment(base, tmp_path, monkeypatch, stage, number, code):
    make, verb = (short, finetune) if stage == "finetune" else (pretraining, pretrain)
    whole = verb(make(base, tmp_path / "whole"))
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        signalled_at(patch, 4, number)
        with pytest.raises(Stopped) as caught:
            verb(make(base, tmp_path / "run"))
    assert caught.value.exit_code == code
    assert "update 4 of 6 is kept in" in caught.value.kept
    assert signal.getsignal(number) is before
    assert [p.name for p in (tmp_path / "run").rglob("update-*.pt")] == ["update-4.pt"]
    assert not (tmp_path / "run" / "speechft.json").exists()
    out = verb(make(base, tmp_path / "run"))
    first, second = tensors(out / "encoder"), tensors(whole / "encoder")
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_a_signal_at_the_last_update_is_heard_too(base, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        signalled_at(patch, 6, signal.SIGTERM)
        with pytest.raises(Stopped, match="update 6 of 6 is kept"):
            finetune(short(base, tmp_path / "run"))
    assert (finetune(short(base, tmp_path / "run")) / "encoder").is_dir()


def test_a_second_interrupt_stops_at_once(base, tmp_path, monkeypatch):
    signalled_at(monkeypatch, 2, signal.SIGINT, times=2)
    with pytest.raises(KeyboardInterrupt) as caught:
        finetune(short(base, tmp_path / "run"))
    assert not isinstance(caught.value, Stopped)
    assert not list((tmp_path / "run").rglob("update-*.pt"))


def test_signals_are_given_back():
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGTERM) != before[1]
        assert not stop.signal_number
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def spoiled(monkeypatch, kind, updates, count=[0]):  # noqa: B006 - counts over the whole test
    """Make the loss of these updates NaN."""
    real, count[0] = kind.loss, 0

    def loss(self, indices, items):
        count[0] += 1
        value, figures = real(self, indices, items)
        return (value * float("nan") if count[0] in updates else value), figures

    monkeypatch.setattr(kind, "loss", loss)


@pytest.mark.parametrize("stage", ["finetune", "pretrain"])
def test_most_updates_skipped_is_no_success(base, tmp_path, monkeypatch, stage):
    out = tmp_path / "run"
    kind = FineTuning if stage == "finetune" else MaskedPrediction
    run = (
        (lambda: finetune(short(base, out)))
        if stage == "finetune"
        else (lambda: pretrain(pretraining(base, out)))
    )
    with monkeypatch.context() as patch:
        spoiled(patch, kind, {1, 2, 3, 5})
        with pytest.raises(DivergedError, match="4 of 6 updates were skipped") as caught:
            run()
    assert "last update 5, of the utterances " in str(caught.value)
    assert "train-0" in str(caught.value)
    assert not (out / "speechft.json").exists()
    assert not (out / "encoder").exists()
    (good,) = out.rglob("encoder-last-good")
    assert all(t.isfinite().all() for t in load_file(good / "model.safetensors").values())
    with pytest.raises(DivergedError):
        run()  # calling it again makes it no success


def test_the_record_counts_what_was_skipped(base, tmp_path, monkeypatch):
    spoiled(monkeypatch, FineTuning, {2})
    out = finetune(short(base, tmp_path / "run"))
    assert json.loads((out / "speechft.json").read_text())["skipped_updates"] == 1


def test_weights_that_are_not_finite_are_never_kept(base, tmp_path, monkeypatch):
    real = Loop._update

    def burst(loop, batches):
        result = real(loop, batches)
        if loop.progress.update == 5:
            with torch.no_grad():
                next(iter(loop.objective.encoder.encoder_parameters().values())).fill_(torch.inf)
        return result

    monkeypatch.setattr(Loop, "_update", burst)
    out = tmp_path / "run"
    with pytest.raises(DivergedError, match="weights are not finite after update"):
        finetune(short(base, out, steps=5, save_every=3))
    assert not (out / "encoder").exists()
    assert not (out / "encoder-best").exists()
    good = load_file(out / "encoder-last-good" / "model.safetensors")  # of the state at update 3
    assert all(tensor.isfinite().all() for tensor in good.values())


@pytest.mark.parametrize("verb", [finetune, pretrain])
def test_two_runs_in_one_folder_are_refused(base, tmp_path, verb):
    given = (short if verb is finetune else pretraining)(base, tmp_path / "run")
    with work_alone(given.out), pytest.raises(SettingsError, match="at work in this folder"):
        verb(given)


def test_threads_are_those_of_the_settings_whatever_the_process_has(base, tmp_path, monkeypatch):
    seen = []
    real = FineTuning.loss

    def loss(self, indices, items):
        seen.append(torch.get_num_threads())
        return real(self, indices, items)

    monkeypatch.setattr(FineTuning, "loss", loss)
    monkeypatch.setattr(distributed, "computing_threads", computing_threads)
    for threads in (1, 3):
        finetune(short(base, tmp_path / f"{threads}", steps=1, threads=threads))
    assert seen == [1, 3]
    assert torch.get_num_threads() == 1
