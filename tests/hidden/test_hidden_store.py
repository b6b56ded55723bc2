from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from speechft.core.errors import DataError, SettingsError
from speechft.encoders import build_encoder
from speechft.hidden import looks, making
from speechft.hidden import shards as hidden_shards
from speechft.hidden import store as hidden_store
from speechft.hidden.library import (
    Library,
    Passes,
    Request,
    frame_bytes,
    length_batches,
    mean_bytes,
)
from speechft.hidden.shards import FRAMES, MEANS, META
from speechft.hidden.store import HiddenStore

CONFIG = {
    "model_type": "hubert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


class Source:
    """Front-end features of random waveforms, one utterance at a time."""

    def __init__(self, encoder, count=6, slow=0.0):
        generator = torch.Generator().manual_seed(0)
        sizes = [4000 + 1700 * ((5 * i) % count) for i in range(count)]
        self.waves = [torch.randn(n, generator=generator) * 0.1 for n in sizes]
        self.durations = [n / 16000 for n in sizes]
        self.encoder, self.slow = encoder, slow

    def expect(self, indices):
        pass

    @torch.no_grad()
    def load(self, indices):
        time.sleep(self.slow)
        waves = [self.waves[i][None] for i in indices]
        return [self.encoder.front_end(w, torch.tensor([w.shape[1]]))[0][0] for w in waves]

    def keys(self):
        return [str(hash(tuple(w.tolist()))) for w in self.waves]


class Case:
    """An encoder, a source and a store that counts encoder passes."""

    def __init__(self, folder=None, *, encoder=None, source=None, **values):
        self.encoder = (encoder or build_encoder(dict(CONFIG), seed=0)).eval()
        self.source = source or Source(self.encoder)
        self.folder, self.values, self.passes = folder, values, 0

    def open(self, frames=True, splits=None, **values):
        keys = self.source.keys()
        splits = splits or {"train": list(range(len(keys)))}
        library = Library(self.source, keys, [list(range(len(keys)))])
        passes = Passes()
        given = {"batch_seconds": 1.2, "folder": self.folder, **self.values, **values}
        found = HiddenStore(**given).open(
            self.encoder,
            library,
            {name: Request(items, frames) for name, items in splits.items()},
            self.encoder.fingerprint(),
            passes,
        )
        self.passes = passes.utterances
        return found if len(found) > 1 else found["train"]

    def shards(self):
        return sorted(p.parent for p in self.folder.glob(f"*/*/{META}"))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Shards of one batch each."""
    monkeypatch.setattr(making, "SHARD_BYTES", 1)
    monkeypatch.setattr(making, "SHARD_SECONDS", 0.1)


def same(one, other):
    """Compare every bit."""
    assert torch.equal(one.pooled.means, other.pooled.means)
    assert one.pooled.lengths == other.pooled.lengths
    assert (one.frames is None) == (other.frames is None)
    if one.frames is not None:
        for i in range(len(one.pooled.lengths)):
            assert torch.equal(one.frames.batch([i])[0], other.frames.batch([i])[0])


def test_states_are_those_of_each_utterance_alone():
    case = Case()
    states = case.open()
    for i, wave in enumerate(case.source.waves):
        with torch.no_grad():
            alone = case.encoder([wave])
        count = int(alone.lengths)
        batch, lengths = states.frames.batch([i])
        assert lengths.tolist() == [count]
        expected = torch.stack(alone.hidden_states)[:, 0, :count]
        torch.testing.assert_close(batch[:, 0], expected, rtol=1e-4, atol=1e-4)
        means, _ = states.pooled.batch([i])
        torch.testing.assert_close(means[:, 0], batch[:, 0].mean(dim=1), rtol=1e-5, atol=1e-5)
    other, _ = states.frames.batch([1])
    first, _ = states.frames.batch([0])
    assert not torch.allclose(other[:, :, :5], first[:, :, :5], atol=1e-2)  # control


def test_time_means_do_not_depend_on_the_type_of_frames():
    case = Case()
    half, full = case.open(dtype="float16"), case.open()
    assert half.frames.frames.dtype == torch.float16
    assert torch.equal(half.pooled.means, full.pooled.means)
    no_frames = case.open(frames=False)
    assert no_frames.frames is None
    assert torch.equal(no_frames.pooled.means, full.pooled.means)


def test_states_can_be_trained_on(tmp_path):
    for case in (Case(), Case(tmp_path)):
        states = case.open()
        weight = torch.ones(2, requires_grad=True)
        batch, _ = states.frames.batch([0])
        (weight @ batch.flatten(1)).sum().backward()
        assert weight.grad is not None


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_disk_gives_the_same_as_memory_and_is_read_again(tmp_path, dtype):
    memory = Case(dtype=dtype).open()
    case = Case(tmp_path, dtype=dtype)
    same(case.open(), memory)
    assert case.passes == 6
    same(case.open(), memory)
    assert case.passes == 0
    padded = case.open().frames.batch([0, 3, 1])
    for one, other in zip(padded, memory.frames.batch([0, 3, 1]), strict=True):
        assert torch.equal(one, other)


def test_an_utterance_is_encoded_once_for_all_splits_and_for_means_and_frames(tmp_path):
    case = Case(tmp_path)
    splits = {"train": [0, 1, 2, 3], "sid_train": [3, 0, 5]}
    found = case.open(splits=splits)
    assert case.passes == 6
    assert torch.equal(found["train"].pooled.means[:, 0], found["sid_train"].pooled.means[:, 1])
    case.open(frames=False, splits=splits)
    assert case.passes == 0
    memory = Case()
    same(memory.open(splits=splits)["sid_train"], found["sid_train"])
    assert memory.passes == 6


def test_frames_of_one_split_and_means_of_another_take_one_pass(tmp_path):
    case = Case(tmp_path)
    keys = case.source.keys()
    library = Library(case.source, keys, [list(range(6))])
    requests = {"pr": Request([0, 2, 4], True), "sid": Request([0, 1, 2, 3, 4, 5], False)}
    for expected in (6, 0):
        passes = Passes()
        store = HiddenStore(folder=tmp_path, batch_seconds=1.2)
        found = store.open(case.encoder, library, requests, "hash", passes)
        assert passes.utterances == expected
        assert found["sid"].frames is None
        assert torch.equal(found["sid"].pooled.means, Case().open().pooled.means)


def test_what_others_need_is_written_on_the_way(tmp_path):
    case = Case(tmp_path)
    library = Library(case.source, case.source.keys(), [list(range(6))])
    pr, sid = Request([0, 2, 4], True), Request([0, 1, 2, 3], False)
    counts = []
    for mine, further in ((sid, [pr]), (pr, [sid]), (Request([5], False), [])):
        passes = Passes()
        store = HiddenStore(folder=tmp_path, batch_seconds=1.2)
        store.open(case.encoder, library, {"own": mine}, "hash", passes, further)
        counts.append(passes.utterances)
    assert counts[:2] == [6, 0]
    assert counts[2] <= 3  # nobody had asked for it


def test_other_encoder_type_of_frames_or_audio_is_computed(tmp_path):
    case = Case(tmp_path)
    case.open()
    case.open(dtype="float16")
    assert case.passes == 6
    weights = case.encoder.model.state_dict()
    weights["encoder.layers.0.attention.k_proj.weight"][0, 0] += 1e-3
    before = case.open()
    assert case.passes == 6  # one weight of the encoder
    same(Case(encoder=case.encoder, source=case.source).open(), before)


def test_one_changed_sample_costs_its_batch_alone(tmp_path):
    case = Case(tmp_path)
    old = case.open()
    case.source.waves[2][1000] += 0.01
    new = case.open()
    batches = length_batches(case.source.durations, 1.2)
    assert case.passes == len(next(b for b in batches if 2 in b)) < 6
    same(new, Case(source=case.source, encoder=case.encoder).open())
    assert not torch.equal(old.pooled.means[:, 2], new.pooled.means[:, 2])
    assert torch.equal(old.pooled.means[:, 1], new.pooled.means[:, 1])
    case.open()
    assert case.passes == 0


@pytest.mark.parametrize("name", [MEANS, FRAMES, META])
def test_a_flipped_byte_is_noticed_and_only_its_shard_made_again(tmp_path, name, caplog):
    case = Case(tmp_path)
    case.open()
    assert len(case.shards()) > 2
    damaged = case.shards()[0]
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        after = case.open()
    assert f"{damaged} is damaged" in caplog.text
    assert 0 < case.passes < 6
    same(after, Case().open())
    caplog.clear()
    case.open()
    assert case.passes == 0
    assert not caplog.records


@pytest.mark.parametrize("name", ["", MEANS, FRAMES, META])
def test_what_is_removed_is_made_again_and_nothing_else(tmp_path, name):
    case = Case(tmp_path)
    case.open()
    victim = case.shards()[1]
    if name:
        (victim / name).unlink()
    else:
        shutil.rmtree(victim)
    same(case.open(), Case().open())
    assert 0 < case.passes < 6
    case.open()
    assert case.passes == 0


def test_a_file_cut_short_is_noticed(tmp_path):
    case = Case(tmp_path)
    case.open()
    file = case.shards()[0] / FRAMES
    os.truncate(file, file.stat().st_size // 2)
    same(case.open(), Case().open())
    assert 0 < case.passes < 6


def run_elsewhere(folder: Path, slow: float = 0.0, first: str = "") -> subprocess.Popen:
    code = (
        "import sys, torch; torch.set_num_threads(1); from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import test_hidden_store as t\n"
        "t.making.SHARD_BYTES, t.making.SHARD_SECONDS = 1, 0.1\n"
        f"{first}\n"
        "case = t.Case(Path(sys.argv[2]))\n"
        "case.source.slow = float(sys.argv[3])\n"
        "case.open(); print(case.passes)"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, here, str(folder), str(slow)]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def die_after(name: str, calls: int) -> None:
    """Let this process end itself once shards have called a function so often."""
    function, left = getattr(hidden_shards, name), iter(range(calls - 1, -1, -1))

    def counted(*args):
        found = function(*args)
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(hidden_shards, name, counted)


@pytest.mark.parametrize(
    ("name", "calls", "count"),
    [("hash_file", 1, 0), ("write_json", 2, 1)],
    ids=["inside the first shard", "before the second is moved"],
)
def test_killed_while_writing_leaves_nothing_half(tmp_path, name, calls, count):
    process = run_elsewhere(tmp_path, first=f"t.die_after({name!r}, {calls})")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.glob(f"*/.*.tmp/{FRAMES}"))
    whole = [p for p in tmp_path.glob("*/*") if p.is_dir() and not p.name.startswith(".")]
    assert len(whole) == count
    assert all((p / META).is_file() for p in whole)
    case = Case(tmp_path)
    same(case.open(), Case().open())
    assert case.passes > 0
    assert (case.passes < 6) == (count > 0)


def test_processes_share_the_work(tmp_path):
    both = [run_elsewhere(tmp_path, 0.2) for _ in range(2)]
    counts = [int(process.communicate(timeout=100)[0]) for process in both]
    assert sum(counts) == 6
    case = Case(tmp_path)
    same(case.open(), Case().open())
    assert case.passes == 0
    assert not [p for p in tmp_path.glob("*/.*") if p.name.endswith(".lock")]


def test_every_process_of_a_launch_has_shards_to_make(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "SHARD_BYTES", 1 << 30)
    monkeypatch.setattr(making, "SHARD_SECONDS", 1800.0)
    alone, shared = Case(tmp_path / "a"), Case(tmp_path / "b", processes=2)
    same(alone.open(), shared.open())
    assert len(alone.shards()) == 1
    assert len(shared.shards()) > 2


def test_half_a_shard_of_a_killed_process_goes_when_it_is_old(tmp_path):
    case = Case(tmp_path)
    case.open()
    left = case.shards()[0].with_name(".0123.abc.tmp")
    left.mkdir()
    case.open()
    assert left.exists()  # its writer may be alive
    os.utime(left, (1, 1))
    case.open()
    assert not left.exists()


def test_folder_keeps_to_its_limit_and_drops_what_was_used_least_recently(tmp_path):
    case = Case(tmp_path)
    case.open()
    size = sum(f.stat().st_size for shard in case.shards() for f in shard.iterdir())
    first = case.shards()
    for used, shard in enumerate(first):
        os.utime(shard, (used, used))
    for seed in (1, 2):
        other = Case(tmp_path, encoder=build_encoder(dict(CONFIG), seed=seed))
        other.open(limit_gb=2.5 * size / 2**30)
    left = [shard.exists() for shard in first]
    assert left == sorted(left)  # the oldest went first
    assert not left[0]
    assert left[-1]
    total = sum(f.stat().st_size for shard in case.shards() for f in shard.iterdir())
    assert total <= 2.5 * size
    other.open()
    assert other.passes == 0


def test_pooled_keeps_time_means_alone(tmp_path):
    memory = Case().open()
    case = Case(tmp_path, keep="pooled")
    same(case.open(), memory)
    assert {f.name for shard in case.shards() for f in shard.iterdir()} == {MEANS, META}
    case.open(frames=False)
    assert case.passes == 0
    case.open()
    assert case.passes == 6


@pytest.mark.parametrize("keep", ["none", "pooled"])
def test_frames_that_fit_nowhere_are_encoded_for_every_batch(tmp_path, keep, caplog):
    memory = Case(dtype="float16").open()
    case = Case(tmp_path, keep=keep, limit_gb=1e-6, dtype="float16")
    with caplog.at_level(logging.WARNING):
        states = case.open()
    assert "reads every utterance anew" in caplog.text
    assert torch.equal(states.pooled.means, memory.pooled.means)
    for one, other in zip(states.frames.batch([0, 4]), memory.frames.batch([0, 4]), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3)
    assert bool(case.shards()) == (keep == "pooled")


def test_need_is_said_and_what_does_not_fit_is_refused(tmp_path, caplog):
    encoder = Case().encoder
    store = HiddenStore(limit_gb=0.001)
    assert frame_bytes(encoder, 1.0, "float32") == 50 * 2 * 16 * 4
    assert mean_bytes(encoder, 3) == 3 * 2 * 16 * 4
    with caplog.at_level(logging.INFO):
        store.check_size(encoder, 3, 10)
    assert "0.4 KiB of time means of 3 utterances" in caplog.text
    with pytest.raises(SettingsError, match="half precision"):
        store.check_size(encoder, 3, 3600)
    with pytest.raises(SettingsError, match="GiB, which is free"):
        HiddenStore(limit_gb=1e12, folder=tmp_path).check_size(encoder, 3, 1e12)
    HiddenStore(limit_gb=0.001, keep="none").check_size(encoder, 3, 3600)


def test_the_need_of_all_data_is_said_before_the_first(tmp_path, caplog, monkeypatch):
    encoder = Case().encoder
    hour, limit = frame_bytes(encoder, 3600, "float32") / 2**30, 0.05
    store = HiddenStore(limit_gb=limit, folder=tmp_path)
    needs = {"a": (3, 3600.0), "b": (3, 3600.0), "c": (3, 3600 * limit / hour * 2)}
    with caplog.at_level(logging.INFO):
        refused = store.check_sizes(encoder, needs)
    assert list(refused) == ["c"]  # the others do not wait for it
    assert "hidden states of a: at most" in caplog.text
    assert f"{2 * hour * 1024:.1f} MiB together, of which" in caplog.text
    # Each alone would fit the disk, and what stays of both would not.
    free = int(1.5 * hour * 2**30)
    monkeypatch.setattr(hidden_store.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert list(store.check_sizes(encoder, needs)) == ["c", "a", "b"]
    smaller = HiddenStore(limit_gb=1.2 * hour, folder=tmp_path)
    assert list(smaller.check_sizes(encoder, needs)) == ["c"]
    assert smaller.check_sizes(encoder, {"a": needs["a"]}) == {}


def test_audio_longer_than_its_cut_is_refused():
    case = Case()
    case.source.durations = [0.1] * 6
    with pytest.raises(DataError, match="more audio than its cut says"):
        case.open()


def test_many_time_means_lie_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "LARGE_BYTES", 1)
    same(Case(tmp_path).open(), Case().open())
    assert not [p for p in tmp_path.iterdir() if p.is_file()]


def test_batches_of_similar_length_within_the_limit():
    durations = [1.0, 5.0, 2.0, 9.0, 4.9, 1.1]
    batches = length_batches(durations, 10.0)
    assert batches == [[3], [1, 4], [2, 5, 0]]
    assert length_batches([30.0], 10.0) == [[0]]  # one alone may pass it


def test_a_batch_of_a_probe_is_encoded_in_parts(tmp_path):
    whole = Case(keep="none", limit_gb=1e-6).open().frames
    parts = replace(whole, seconds=0.1)
    before = whole.passes.utterances
    found, lengths = parts.batch([4, 0, 2])
    assert whole.passes.utterances - before == 3
    wanted, same_lengths = whole.batch([4, 0, 2])
    assert torch.equal(lengths, same_lengths)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
