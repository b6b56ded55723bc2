"""Moments in 8 bits: their memory, training with them, going on, and what is said without them."""

import json
import signal

import pytest
import torch
from finetune_fixture import kill_at, moved, settings
from torch import nn
from torch.utils._pytree import tree_leaves

from speechft.core.errors import CheckpointError, SettingsError
from speechft.encoders import build_encoder
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune
from speechft.training.micro_batches import affordable
from speechft.training.optimisers import MOMENTS, make_optimiser
from speechft.training.resume_state import load_state


@pytest.fixture
def base(tmp_path, tiny_config):
    wide = {**tiny_config, "intermediate_size": 256}  # its weights have more than 4096 values
    return build_encoder(wide, seed=0).save(tmp_path / "base")


def moments(state):
    """All tensors of some length: bitsandbytes has one mapping in another."""
    return [v for v in tree_leaves(state) if isinstance(v, torch.Tensor) and v.ndim]


@pytest.mark.parametrize("kind", ["adam", "adam-8bit"])
def test_moments_take_what_is_said(kind):
    if kind != "adam":
        pytest.importorskip("bitsandbytes")
    layer = nn.Linear(512, 1024, bias=False)
    optimiser = make_optimiser(kind, layer.parameters(), 1e-3, (0.9, 0.999), 0.0)
    layer(torch.ones(2, 512)).sum().backward()
    optimiser.step()
    size = sum(v.nbytes for v in moments(optimiser.state_dict()["state"]))
    assert size / layer.weight.nbytes == pytest.approx(MOMENTS[kind], abs=0.006)


def test_moments_in_8_bits_train_as_well_and_go_on(base, tmp_path):
    pytest.importorskip("bitsandbytes")
    ends = {}
    for kind in ("adam", "adam-8bit"):
        out = finetune(settings(base, tmp_path / kind, optimiser=kind, steps=30))
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        ends[kind] = [r["loss"] for r in lines if "loss" in r]
    assert ends["adam"] != ends["adam-8bit"]
    assert ends["adam-8bit"][-1] == pytest.approx(ends["adam"][-1], rel=0.1)
    assert ends["adam-8bit"][-1] < ends["adam-8bit"][0]
    stopped = settings(base, tmp_path / "stopped", optimiser="adam-8bit", steps=30)
    assert kill_at(stopped, 17) == -signal.SIGKILL
    kinds = {
        v.dtype for v in moments(load_state(stopped.out / "checkpoints")["optimizer"]["state"])
    }
    assert torch.uint8 in kinds
    finetune(stopped)
    assert not moved(stopped.out / "encoder", tmp_path / "adam-8bit" / "encoder")
    record = json.loads((stopped.out / "speechft.json").read_text())
    assert record["settings"]["optimiser"] == "adam-8bit"
    with pytest.raises(SettingsError, match="optimiser"):  # other settings began it
        finetune(settings(base, stopped.out, steps=30))


def test_a_run_goes_on_from_one_of_the_same_optimiser(base, tmp_path, monkeypatch):
    first = finetune(settings(base, tmp_path / "first", steps=4))
    assert load_state(first / "checkpoints")["optimiser"] == "adam"
    on = {"continued": str(first), "steps": 2, "out": tmp_path / "on"}
    monkeypatch.setattr(
        "speechft.training.loop.make_optimiser", lambda _, *a: make_optimiser("adam", *a)
    )
    with pytest.raises(CheckpointError, match=r"another one(.|\n)*expected: adam-8bit"):
        finetune(FinetuneSettings(**on, optimiser="adam-8bit"))
    finetune(FinetuneSettings(**on))


def test_without_the_library_there_is_one_message(base, tmp_path, monkeypatch):
    monkeypatch.setattr("speechft.training.optimisers.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"not installed(.|\n)*pip install 'bitsandbytes>="):
        finetune(settings(base, tmp_path / "run", optimiser="adam-8bit"))


@pytest.mark.parametrize(("method", "all_of_it"), [("regular", True), ("lora", False)])
def test_memory_for_moments_is_that_of_what_moves(base, tmp_path, monkeypatch, method, all_of_it):
    """Of adapters and head alone where they alone move: weights that stand still have none."""
    monkeypatch.setattr("speechft.training.micro_batches.free_bytes", lambda _: 10**9)
    found, sizes = [], {}
    for share in (0.0, 2.0):
        peaks = iter((10**6, 2 * 10**6))
        monkeypatch.setattr(
            "speechft.training.micro_batches.peak_bytes", lambda *_, p=peaks: next(p)
        )
        monkeypatch.setattr("speechft.training.loop.MOMENTS", {"adam": share})

        def measured(objective, index, items, *more):
            found.append(affordable(objective, index, items, *more) / objective.seconds(items)[0])
            for name, parameter in objective.module.named_parameters():
                sizes[name] = parameter.nbytes * parameter.requires_grad
            return 1.0

        monkeypatch.setattr("speechft.training.loop.affordable", measured)
        more = {"method": method, "micro_batch": "auto", "steps": 1}
        finetune(settings(base, tmp_path / f"{share}", **more))
    moving = sum(sizes.values())
    assert found[0] - found[1] == pytest.approx(2 * moving / 10**6)
    assert all(sizes.values()) == all_of_it
