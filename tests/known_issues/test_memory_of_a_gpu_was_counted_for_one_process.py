"""`micro_batch=auto` leaves room for averages of the weights, and for other workers of its GPU.

Averages were not counted, and each of several workers on one GPU, or on one processor, took 85 % of
the same free memory.
"""

from __future__ import annotations

import os

import pytest
import torch
from finetune_fixture import settings
from pretend_gpu import pretend_gpu

from speechft.core.launch_settings import LaunchSettings
from speechft.core.worker_processes import SHARING
from speechft.encoders import build_encoder
from speechft.pipeline.launchers import start_workers
from speechft.training.finetune.stage import finetune
from speechft.training.micro_batches import affordable, free_bytes


@pytest.mark.parametrize("method", ["regular", "lora"])
def test_every_average_of_the_weights_has_room(tmp_path, tiny_config, monkeypatch, method):
    """An average holds all weights, also those that stand still."""
    base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    monkeypatch.setattr("speechft.training.micro_batches.free_bytes", lambda _: 10**9)
    found, sizes = [], {}
    for number, averages in enumerate(({}, {"ema": 0.9}, {"ema": 0.9, "average_last": 0.5})):
        peaks = iter((10**6, 2 * 10**6))
        monkeypatch.setattr(
            "speechft.training.micro_batches.peak_bytes", lambda *_, p=peaks: next(p)
        )

        def measured(objective, index, items, *more):
            found.append(affordable(objective, index, items, *more) / objective.seconds(items)[0])
            sizes.update((n, p.nbytes) for n, p in objective.module.named_parameters())
            return 1.0

        monkeypatch.setattr("speechft.training.loop.affordable", measured)
        more = {"method": method, "micro_batch": "auto", "steps": 2, **averages}
        finetune(settings(base, tmp_path / f"{number}", **more))
    one = sum(sizes.values()) / 10**6
    assert [found[0] - copies for copies in found] == pytest.approx([0, one, 2 * one])


def shared(workers, gpus):
    """Give the GPU of every worker, and with how many it shares that."""
    with start_workers(LaunchSettings(), None, workers=workers, threads=1, gpus=gpus) as pool:
        environments = [slot._environment for slot in pool._slots]
    return [(one.get("CUDA_VISIBLE_DEVICES"), int(one[SHARING])) for one in environments]


def test_workers_know_how_many_have_their_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert shared(3, 2) == [("0", 2), ("1", 1), ("0", 2)]
    assert shared(2, 0) == [(None, 2), (None, 2)]
    with start_workers(LaunchSettings(), None, workers=2, threads=1) as pool:
        assert pool.submit(os.getenv, SHARING).result() == "2"


def test_what_is_free_is_shared_but_for_what_the_process_holds(monkeypatch):
    cpu = free_bytes(torch.device("cpu"))
    monkeypatch.setenv(SHARING, "4")
    assert free_bytes(torch.device("cpu")) == pytest.approx(cpu / 4, rel=0.2)
    with pretend_gpu(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "mem_get_info", lambda _: (8000, 9000))
        patch.setattr(torch.cuda, "memory_reserved", lambda _: 500)
        patch.setattr(torch.cuda, "memory_allocated", lambda _: 200)
        assert free_bytes(torch.device("cuda")) == 8000 // 4 + 300
