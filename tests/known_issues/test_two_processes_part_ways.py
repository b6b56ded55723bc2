"""Two processes that train together parted ways, or hung, and both wrote metrics.jsonl.

Seen: the check for finite losses looked at its own process alone, so that one infinite loss left
other weights in each; a head without a batch in one process waited for ever; every process cut and
wrote the same files.
"""

import json
import signal
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from two_processes import BAD_UPDATE, EQUAL, finished, in_float64, run

from speechft.core.errors import SettingsError
from speechft.encoders import build_encoder, load_encoder
from speechft.training.pretrain import speech

CONFIG = {
    "model_type": "hubert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.05,
    "layerdrop": 0.0,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return build_encoder(CONFIG, seed=0).save(folder / "base").parent


@pytest.fixture(scope="module")
def together(base):
    """The folder of what two processes have trained."""
    names = (*EQUAL, "infinite", "infinite-pretrain")
    both = finished(base, *names)
    assert [process.returncode for process in both] == [0, 0], both[0].stderr + both[1].stderr
    ends = [json.loads((base / f"ends-{rank}.json").read_text()) for rank in (0, 1)]
    assert list(ends[0]) == list(names)
    assert ends[0] == ends[1]  # both have the same weights after each
    return base


def records(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [r for r in lines if "loss" in r], [r for r in lines if "loss" not in r]


def states(folder):
    wave = torch.randn(16000, generator=torch.Generator().manual_seed(0)) / 10
    with torch.inference_mode(), in_float64():
        return torch.cat(load_encoder(folder).double()([wave.double()]).hidden_states)


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_equal_one_that_accumulates_two_batches(
    together, tmp_path, monkeypatch, name
):
    """With dropout, layers' chance and masks: each batch has its own, whoever has the batch."""
    (tmp_path / "base").symlink_to(together / "base")
    real = speech.loop_settings
    monkeypatch.setattr(speech, "loop_settings", lambda *args: replace(real(*args), accumulate=2))
    with in_float64():
        alone = run(tmp_path, name, **({} if name == "pretrain" else {"accumulate": 2}))
    found = together / name
    for encoder in ("encoder",) if name == "pretrain" else ("encoder", "encoder-at-50"):
        torch.testing.assert_close(
            states(found / encoder), states(alone / encoder), rtol=1e-5, atol=1e-7
        )
        assert not torch.allclose(states(found / encoder), states(together / "base"), atol=1e-3)
    parts = [folder / "iteration-1" if name == "pretrain" else folder for folder in (found, alone)]
    (losses, dev), (wanted, wanted_dev) = map(records, parts)
    assert [r["update"] for r in losses] == [r["update"] for r in wanted]
    assert [r["loss"] for r in losses] == pytest.approx([r["loss"] for r in wanted], rel=1e-5)
    assert [set(r) for r in dev] == [set(r) for r in wanted_dev]


def test_an_infinite_loss_in_one_process_skips_the_update_in_both(together):
    record = json.loads((together / "infinite" / "speechft.json").read_text())
    assert record["skipped_updates"] == 1
    assert record["depends"]["processes"] == 2
    losses, _ = records(together / "infinite")
    assert [r["update"] for r in losses] == list(range(1, 7))  # one process wrote them
    assert [r["update"] for r in losses if r["loss"] == float("inf")] == [BAD_UPDATE]
    record = json.loads((together / "infinite-pretrain" / "speechft.json").read_text())
    assert record["skipped_updates"] == 1


@pytest.mark.parametrize("name", ["killed", "killed-pretrain"])
def test_when_one_process_is_killed_the_other_ends_with_a_clear_error(base, name):
    left, killed = finished(base, name)
    assert killed.returncode == -signal.SIGKILL
    assert left.returncode == 1
    assert "another process that trains along has ended" in left.stderr
    folder = base / name if name == "killed" else base / name / "iteration-1"
    assert time.monotonic() - float((folder / "killed-at").read_text()) < 60
    assert list((folder / "checkpoints").glob(f"update-{BAD_UPDATE - 1}.pt"))
    with pytest.raises(SettingsError, match="other settings") as caught:
        run(base, name)  # another number of processes would give another result
    assert "processes 2" in str(caught.value)


def test_heads_are_written_once_and_load(together):
    for file in ("head-pr.safetensors", "head-sid.safetensors"):
        assert load_file(together / "two" / file)
