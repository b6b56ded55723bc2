"""Batches cut into pieces: the same updates, in as much memory as there is, also after a stop."""

import json
import signal

import pytest
import torch
from finetune_fixture import kill_at, moved, settings, tensors
from two_processes import in_float64

from speechft.encoders import build_encoder
from speechft.tasks import TASKS
from speechft.training import micro_batches
from speechft.training.finetune.objective import FineTuning
from speechft.training.finetune.stage import finetune
from speechft.training.micro_batches import cut, free_bytes, peak_bytes

STILL = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0
)


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder({**tiny_config, **STILL}, seed=0).save(tmp_path / "base")


def record(out):
    return json.loads((out / "speechft.json").read_text())


@pytest.mark.parametrize("task", ["sid", "pr", "pc"])
def test_pieces_make_the_updates_of_whole_batches(base, tmp_path, monkeypatch, task):
    """Without dropout, in float64: classes, CTC, and frames, as many as a piece has."""
    pieces = []

    def noted(*args):
        found = cut(*args)
        pieces.append([len(piece.indices) for piece in found])
        assert sum(piece.share for piece in found) == pytest.approx(1)
        return found

    monkeypatch.setattr("speechft.training.loop.cut", noted)
    more = {"task": task, "head_size": "mini", "seconds": 20, "steps": 5, "head_warmup": 0.2}
    with in_float64():
        whole = finetune(settings(base, tmp_path / "whole", **more))
        assert not pieces
        parts = finetune(settings(base, tmp_path / "cut", micro_batch=6, **more))
        control = finetune(settings(base, tmp_path / "control", **more | {"clip": 0.5}))
    assert max(map(len, pieces)) > 2
    assert len({size for sizes in pieces for size in sizes}) > 1
    for name, value in tensors(whole / "encoder").items():
        torch.testing.assert_close(tensors(parts / "encoder")[name], value, rtol=0, atol=1e-5)
    worst = [
        float((tensors(one / "encoder")[n] - v).abs().max())
        for one in (parts, control)
        for n, v in tensors(whole / "encoder").items()
        if n.endswith("layers.1.feed_forward.output_dense.weight")
    ]
    assert worst[0] < 1e-9 < worst[1]


def test_of_frames_a_piece_counts_by_its_labels():
    assert TASKS["sid"].weight(None, [9, 9], [torch.zeros(1)] * 2) == 2
    for name in ("pc", "sd"):
        assert TASKS[name].weight(None, [5, 9], [torch.zeros(4), torch.zeros(30)]) == 4 + 9


def test_auto_takes_what_memory_bears_and_keeps_it(base, tmp_path, monkeypatch):
    found = []
    for free in (10**9, 10**7, 1):
        monkeypatch.setattr(micro_batches, "free_bytes", lambda _, free=free: free)
        out = finetune(settings(base, tmp_path / f"{free}", micro_batch="auto", steps=2))
        found.append(record(out)["micro_batch"])
    assert found[0] > 12  # which batches have
    assert found[0] > found[1] > found[2] == pytest.approx(4.4, abs=0.3)  # the longest utterance
    monkeypatch.undo()
    stopped = settings(base, tmp_path / "stopped", micro_batch="auto", steps=12)
    assert kill_at(stopped, 7) == -signal.SIGKILL
    monkeypatch.setattr(micro_batches, "free_bytes", lambda _: 1)  # it goes on on a small machine
    finetune(stopped)
    assert record(stopped.out)["micro_batch"] > 12


def test_auto_takes_one_utterance_where_a_gpu_has_no_memory_for_two(base, tmp_path, monkeypatch):
    real = FineTuning.loss

    def loss(objective, indices, items):
        if len(set(indices)) < len(indices):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(objective, indices, items)

    monkeypatch.setattr(FineTuning, "loss", loss)
    out = finetune(settings(base, tmp_path / "run", micro_batch="auto", steps=2))
    assert record(out)["micro_batch"] == pytest.approx(4.4, abs=0.3)


def test_measuring_changes_no_result(base, tmp_path, monkeypatch):
    monkeypatch.setattr(micro_batches, "free_bytes", lambda _: 10**10)
    plain = finetune(settings(base, tmp_path / "plain", steps=4))
    out = finetune(settings(base, tmp_path / "auto", micro_batch="auto", steps=4))
    assert not moved(out / "encoder", plain / "encoder")


def test_memory_is_counted_at_its_peak():
    def work():
        first = torch.zeros(10**6)
        second = first + 1
        del first
        torch.cat([second, second])

    assert peak_bytes(work, torch.device("cpu")) == pytest.approx(12e6, rel=0.01)
    assert 0 < free_bytes(torch.device("cpu")) < 2**50


def test_a_bound_of_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(micro_batches, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert free_bytes(torch.device("cpu")) == 2_000_000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert free_bytes(torch.device("cpu")) == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(torch.device("cpu")) > 2_000_000


def test_rehearsal_is_not_cut(base, tmp_path):
    with pytest.raises(ValueError, match="take rehearsal away"):
        more = {"rehearsal_share": 0.5, "rehearsal_data": "synthetic:tiny"}
        settings(base, tmp_path / "run", micro_batch=4, **more)
