"""Several processes that train together: equal to one, whichever of them ends or goes on.

Seen where two parted ways: the check for finite losses looked at its own process alone, so that one
infinite loss left other weights in each; a head without a batch in one process waited for ever;
every process cut and wrote the same files; losses of tasks that the first process had no batch of
were not logged; thirty passes were more with more processes.
"""

import json
import shutil
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from family_configs import config_of
from safetensors.torch import load_file
from torch.distributed.checkpoint.filesystem import FileSystemReader
from two_processes import (
    BAD_UPDATE,
    EQUAL,
    KILL,
    MOVED,
    SETTINGS,
    finished,
    in_float64,
    run,
)

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.stopping import Stopped
from speechft.encoders import build_encoder, load_encoder
from speechft.training import run_folder
from speechft.training.loop import Loop
from speechft.training.run_folder import batches_per_update, begin, carry_out, run_artifact

CONFIG = config_of("hubert")
ENDS_AT = 5  # the update after which one process, that has gone on alone, is stopped


@pytest.fixture(scope="module")
def together(made_once):
    """The folder of what two processes have trained; what they had begun, one has gone on with."""
    return made_once("several-processes", train_together)


def train_together(folder):
    build_encoder(CONFIG, seed=0).save(folder / "base")
    killed = {}
    for name in MOVED:
        left, lost = finished(folder, KILL + name)
        killed[name] = [left.returncode, lost.returncode, left.stderr, time.monotonic()]
    (folder / "killed.json").write_text(json.dumps(killed))
    for name in MOVED:
        with pytest.MonkeyPatch.context() as patch, in_float64():
            real = Loop._update

            def update(loop, batches, real=real):
                if loop.progress.update + 1 == ENDS_AT:
                    signal.raise_signal(signal.SIGTERM)
                return real(loop, batches)

            patch.setattr(Loop, "_update", update)
            with pytest.raises(Stopped, match=f"after update {ENDS_AT} of"):
                run(folder, name)
    names = (*EQUAL, "infinite", "infinite-pretrain")
    both = finished(folder, *names, timeout=3000)
    assert [process.returncode for process in both] == [0, 0], both[0].stderr + both[1].stderr
    ends = [json.loads((folder / f"ends-{rank}.json").read_text()) for rank in (0, 1)]
    assert list(ends[0]) == list(names)
    assert ends[0] == ends[1]  # both have the same weights after each


@pytest.fixture(scope="module")
def alone(together, tmp_path_factory):
    """Give the folder of a run that one process has trained with all batches of two."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "base").symlink_to(together / "base")

    def train(name):
        if SETTINGS[name].get("continued"):
            train(SETTINGS[name]["continued"])
        with in_float64():
            return run(folder, name, accumulate=2)

    return train


def records(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [r for r in lines if "loss" in r], [r for r in lines if "loss" not in r]


def states(folder):
    wave = torch.randn(16000, generator=torch.Generator().manual_seed(0)) / 10
    with torch.inference_mode(), in_float64():
        return torch.cat(load_encoder(folder).double()([wave.double()]).hidden_states)


@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_equal_one_with_as_many_batches(together, alone, name):
    """With dropout, layers' chance and masks: each batch has its own, whoever has the batch."""
    wanted, found = alone(name), together / name
    encoders = sorted(path.name for path in wanted.glob("encoder*"))
    assert encoders == sorted(path.name for path in found.glob("encoder*"))
    averaged = {"one": 5, "patient": 2, "further": 4}
    averaged |= {"pieces": 5, "moved-pieces": 5, "further-pieces": 4}
    assert len(encoders) == averaged.get(name, 1 if "pretrain" in name else 3)
    for encoder in encoders:
        torch.testing.assert_close(
            states(found / encoder), states(wanted / encoder), rtol=1e-5, atol=1e-7
        )
    assert not torch.allclose(states(found / "encoder"), states(together / "base"), atol=1e-3)
    parts = [one / "iteration-1" if "pretrain" in name else one for one in (found, wanted)]
    (losses, dev), (wanted_losses, wanted_dev) = map(records, parts)
    for theirs, own in zip(losses + dev, wanted_losses + wanted_dev, strict=True):
        del theirs["seconds" if "loss" in theirs else "update"]
        assert theirs == pytest.approx({n: own[n] for n in theirs}, rel=1e-5, abs=1e-8)
        assert own.keys() - theirs.keys() <= {"seconds", "update"}


@pytest.mark.parametrize("name", ["pieces", "moved-pieces"])
def test_each_process_keeps_its_pieces(together, name):
    (folder,) = (together / name / "checkpoints").glob("update-*/")
    known = FileSystemReader(folder).read_metadata().state_dict_metadata
    layer = "encoder.model.encoder.layers.0.feed_forward.output_dense.weight"
    for tensor in (f"module|{layer}", f"moments|{layer}|exp_avg"):
        assert [chunk.sizes[0] for chunk in known[tensor].chunks] == [16, 16]
    assert not list((together / "two" / "checkpoints").glob("update-*/"))


def test_pieces_that_have_changed_are_never_used(together, tmp_path):
    shutil.copytree(together / "pieces", tmp_path / "pieces")
    (file,) = (tmp_path / "pieces" / "checkpoints").glob("update-*/__1_0.distcp")
    text = file.read_bytes()
    file.write_bytes(text[:-9] + bytes([text[-9] ^ 1]) + text[-8:])
    with pytest.raises(CheckpointError, match="not as it was written") as caught:
        run(tmp_path, "further-pieces", continued="pieces", out=tmp_path / "out")
    assert file.name in str(caught.value)


def test_an_infinite_loss_in_one_process_skips_the_update_in_both(together):
    record = json.loads((together / "infinite" / "speechft.json").read_text())
    assert record["skipped_updates"] == 1
    assert record["depends"]["processes"] == 2
    losses, _ = records(together / "infinite")
    assert [r["update"] for r in losses] == list(range(1, 7))  # one process wrote them
    assert [r["update"] for r in losses if r["loss"] == float("inf")] == [BAD_UPDATE]
    record = json.loads((together / "infinite-pretrain" / "speechft.json").read_text())
    assert record["skipped_updates"] == 1


@pytest.mark.parametrize("name", MOVED)
def test_when_one_process_is_killed_the_other_ends_with_a_clear_error(together, name):
    left, lost, said, ended = json.loads((together / "killed.json").read_text())[name]
    assert lost == -signal.SIGKILL
    assert left == 1
    assert "another process that trains along has ended" in said
    folder = together / name / "iteration-1" if "pretrain" in name else together / name
    assert ended - float((folder / "killed-at").read_text()) < 60


def test_losses_of_all_tasks_are_logged_whoever_has_their_batches(together):
    losses, _ = records(together / "two")
    assert all({"pr_loss", "sid_loss"} <= one.keys() for one in losses)


def test_heads_are_written_once_and_load(together):
    for file in ("head-pr.safetensors", "head-sid.safetensors"):
        assert load_file(together / "two" / file)


@pytest.fixture
def processes(monkeypatch):
    """Let there seem to be so many processes, of which this is the first."""

    def several(number):
        state = SimpleNamespace(num_processes=number)
        monkeypatch.setattr(run_folder, "all_processes", lambda: state)

    return several


def artifact(folder, accumulate=1):
    settings = {**SETTINGS["one"], "encoder": "tiny-hubert", "out": folder}
    from speechft.training.finetune.settings import FinetuneSettings

    return run_artifact(folder, "finetune", FinetuneSettings(**settings, accumulate=accumulate))


@pytest.mark.parametrize(
    ("number", "accumulate", "batches"),
    [(1, 2, 8), (2, 2, 8), (8, 2, 8), (2, 4, 8), (1, 8, 8), (4, 2, 8), (2, 3, 6), (4, 1, 4)],
)
def test_an_update_keeps_its_batches_or_the_settings_are_others(
    processes, tmp_path, number, accumulate, batches
):
    processes(4)
    begin(artifact(tmp_path, 2))
    (tmp_path / "metrics.jsonl").write_text("")
    processes(number)
    again = artifact(tmp_path, accumulate)
    assert batches_per_update(again.depends) == batches
    if batches == 8:
        begin(again)
        assert again.depends["processes"] == 4
    else:
        with pytest.raises(SettingsError, match="other settings"):
            begin(again)


def test_batches_that_cannot_be_shared_out_evenly_are_refused(processes, tmp_path):
    processes(4)
    begin(artifact(tmp_path))
    processes(3)
    with pytest.raises(SettingsError, match="cannot be shared out evenly") as caught:
        carry_out(artifact(tmp_path), 1, lambda: None)
    assert "divides 4" in str(caught.value)
