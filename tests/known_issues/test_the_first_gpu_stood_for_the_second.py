"""What is said of a GPU is said of the one that computes: `device=cuda:1` is not the current one.

A record named torch's current GPU, and whether a GPU has bfloat16 was asked of that one.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from evaluate_fixture import evaluation
from finetune_fixture import settings
from pretend_gpu import pretend_gpu

from speechft.core import devices
from speechft.core.artifact import processor
from speechft.core.devices import has_bfloat16, usable_device
from speechft.core.files import read_json
from speechft.probing.evaluate import evaluate
from speechft.training.finetune.stage import finetune


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch):
    """Let there be an old GPU, which is torch's current one, and a new one."""
    current = [0]

    @contextmanager
    def chosen(device):
        current[0], before = device.index, current[0]
        try:
            yield
        finally:
            current[0] = before

    def name(device=None):
        index = torch.device("cuda" if device is None else device).index
        return ("old", "new")[current[0] if index is None else index]

    has_bfloat16.cache_clear()
    monkeypatch.setattr(devices, "_in_use", [])
    with pretend_gpu(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "device", chosen)
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        patch.setattr(torch.cuda, "current_device", lambda: current[0])
        patch.setattr(torch.cuda, "get_device_name", name)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda **_: current[0] == 1)
        yield
    has_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("device", "gpu"), [("cuda:1", "new, "), ("cuda:0", "old, "), ("cuda", "old, "), ("cpu", "")]
)
def test_the_processor_is_the_one_that_was_chosen(device, gpu):
    usable_device(device)
    assert processor().startswith(gpu)
    assert any(name in processor() for name in ("old", "new")) == bool(gpu)


def test_records_name_the_gpu_of_their_stage(evaluation_home, tmp_path):
    asked = evaluation(
        evaluation_home, tmp_path / "out", device="cuda:1", tasks=("sid",), steps=2, checks=1
    )
    out = evaluate(asked)
    for record in (out, *out.glob("cells/*")):
        assert read_json(record / "speechft.json")["processor"].startswith("new, ")
    data = str(evaluation_home / "data" / "table.jsonl")
    run = finetune(settings(evaluation_home / "one", tmp_path / "run", data=data, steps=1))
    assert read_json(run / "speechft.json")["processor"].startswith("old, ")  # accelerate's choice


def test_the_gpu_that_computes_is_asked_for_bfloat16():
    found = [has_bfloat16(torch.device(f"cuda:{number}")) for number in (0, 1)]
    assert found == [False, True]
    assert not has_bfloat16("cuda")
