from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from kills import start_fork
from tiny_configs import ONE_LAYER as CONFIG

from speechft.core import devices
from speechft.core.artifact import RECORD
from speechft.core.errors import DataError, SettingsError
from speechft.core.lengths import length_batches
from speechft.encoders import build_encoder
from speechft.hidden import dataset_states, disk_store
from speechft.hidden.dataset_states import HiddenStore, Request
from speechft.hidden.disk_store import FRAMES, INDEX, MEANS
from speechft.hidden.sizes import frame_bytes, mean_bytes
from speechft.hidden.states import (
    Passes,
)


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

    def name(self, index):
        return f"utterance {index}"

    @torch.no_grad()
    def load(self, indices):
        time.sleep(self.slow)
        waves = [self.waves[i][None] for i in indices]
        return [self.encoder.front_end(w, torch.tensor([w.shape[1]]))[0][0] for w in waves]

    @property
    def keys(self):
        return [str(hash(tuple(w.tolist()))) for w in self.waves]


class Case:
    """An encoder, a source and a store that counts encoder passes."""

    def __init__(self, folder=None, *, encoder=None, source=None, **values):
        self.encoder = (encoder or build_encoder(dict(CONFIG), seed=0)).eval()
        self.source = source or Source(self.encoder)
        self.folder, self.values, self.passes = folder, values, 0

    def open(self, frames=True, splits=None, **values):
        splits = splits or {"train": list(range(len(self.source.waves)))}
        passes = Passes()
        given = {"batch_seconds": 1.2, "folder": self.folder, **self.values, **values}
        found = HiddenStore(**given).open(
            self.encoder,
            self.source,
            {name: Request(items, frames) for name, items in splits.items()},
            self.encoder.content_id(),
            passes,
        )
        self.passes = passes.utterances
        return found if len(found) > 1 else found["train"]

    def entries(self):
        return sorted(p.parent for p in self.folder.glob(f"*/*/{RECORD}"))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Entries of one utterance each."""
    monkeypatch.setattr(dataset_states, "PIECE_SECONDS", 0.1)


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
    assert half.frames.frames[0].dtype == torch.float16
    assert torch.equal(half.pooled.means, full.pooled.means)
    no_frames = case.open(frames=False)
    assert no_frames.frames is None
    assert torch.equal(no_frames.pooled.means, full.pooled.means)


def test_each_precision_has_states_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "has_bfloat16", lambda _: True)
    exact, half = Case().open(), Case().open(precision="bfloat16")
    spread = exact.pooled.means.std()
    apart = (half.pooled.means - exact.pooled.means).abs().max()
    assert 0 < apart < 0.1 * spread
    case = Case(tmp_path)
    for given, memory in (({}, exact), ({"precision": "bfloat16"}, half)):
        for passes in (6, 0):
            same(case.open(**given), memory)
            assert case.passes == passes


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
    assert case.passes == 5
    assert torch.equal(found["train"].pooled.means[:, 0], found["sid_train"].pooled.means[:, 1])
    case.open(frames=False, splits=splits)
    assert case.passes == 0
    memory = Case()
    same(memory.open(splits=splits)["sid_train"], found["sid_train"])
    assert memory.passes == 5


def test_frames_of_one_split_and_means_of_another_take_one_pass(tmp_path):
    case = Case(tmp_path)
    requests = {"pr": Request([0, 2, 4], True), "sid": Request([0, 1, 2, 3, 4, 5], False)}
    for expected in (6, 0):
        passes = Passes()
        store = HiddenStore(folder=tmp_path, batch_seconds=1.2)
        found = store.open(case.encoder, case.source, requests, "hash", passes)
        assert passes.utterances == expected
        assert found["sid"].frames is None
        assert torch.equal(found["sid"].pooled.means, Case().open().pooled.means)


def test_what_others_need_is_written_on_the_way(tmp_path):
    case = Case(tmp_path)
    pr, sid = Request([0, 2, 4], True), Request([0, 1, 2, 3], False)
    counts = []
    for mine, further in ((sid, pr.items), (pr, []), (Request([5], False), [])):
        passes = Passes()
        store = HiddenStore(folder=tmp_path, batch_seconds=1.2)
        store.open(case.encoder, case.source, {"own": mine}, "hash", passes, further)
        counts.append(passes.utterances)
    assert counts == [4, 1, 1]


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


def test_one_changed_sample_costs_its_utterance_alone(tmp_path):
    case = Case(tmp_path)
    old = case.open()
    case.source.waves[2][1000] += 0.01
    new = case.open()
    assert case.passes == 1
    same(new, Case(source=case.source, encoder=case.encoder).open())
    assert not torch.equal(old.pooled.means[:, 2], new.pooled.means[:, 2])
    assert torch.equal(old.pooled.means[:, 1], new.pooled.means[:, 1])
    case.open()
    assert case.passes == 0


@pytest.mark.parametrize("name", [MEANS, FRAMES, RECORD])
def test_a_flipped_byte_is_noticed_and_only_its_entry_made_again(tmp_path, name, caplog):
    case = Case(tmp_path)
    case.open()
    assert len(case.entries()) > 2
    damaged = case.entries()[0]
    content = bytearray((damaged / name).read_bytes())
    content[content.index(b"keys") + 20 if name == RECORD else len(content) // 2] ^= 1
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


@pytest.mark.parametrize("name", ["", MEANS, FRAMES, RECORD])
def test_what_is_removed_is_made_again_and_nothing_else(tmp_path, name):
    case = Case(tmp_path)
    case.open()
    victim = case.entries()[1]
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
    file = case.entries()[0] / FRAMES
    os.truncate(file, file.stat().st_size // 2)
    same(case.open(), Case().open())
    assert 0 < case.passes < 6


def start_elsewhere(
    folder: Path, slow: float = 0.0, first: Callable[[], None] = lambda: None
) -> tuple[int, int]:
    """Open a case in a fork; give its number, and where it writes how many passes it took."""
    read, write = os.pipe()

    def work() -> None:
        dataset_states.PIECE_SECONDS = 0.1
        first()
        case = Case(folder)
        case.source.slow = slow
        case.open()
        os.write(write, str(case.passes).encode())

    child = start_fork(work)
    os.close(write)
    return child, read


def passes_of(started: tuple[int, int]) -> int:
    child, read = started
    with os.fdopen(read) as file:
        count = int(file.read())
    os.waitpid(child, 0)
    return count


def die_at_record(calls: int, *, written: bool) -> None:
    """Let this process end itself when so many records are to be written, or just were."""
    end, left = disk_store.Artifact.end, iter(range(calls - 1, -1, -1))

    def counted(*args):
        last = next(left) == 0
        if not last or written:
            end(*args)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    disk_store.Artifact.end = counted


@pytest.mark.parametrize(
    ("calls", "written", "count"),
    [(1, False, 0), (2, True, 1)],
    ids=["inside the first entry", "before the second is moved"],
)
def test_killed_while_writing_leaves_nothing_half(tmp_path, calls, written, count):
    child, read = start_elsewhere(tmp_path, first=lambda: die_at_record(calls, written=written))
    os.close(read)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(tmp_path.glob(f"*/.*.tmp/{FRAMES}"))
    whole = [p for p in tmp_path.glob("*/*") if p.is_dir() and not p.name.startswith(".")]
    assert len(whole) == count
    assert all((p / RECORD).is_file() for p in whole)
    case = Case(tmp_path)
    same(case.open(), Case().open())
    assert case.passes > 0
    assert (case.passes < 6) == (count > 0)


def test_processes_share_the_work(tmp_path):
    both = [start_elsewhere(tmp_path, 0.2) for _ in range(2)]
    assert sum(map(passes_of, both)) == 6
    case = Case(tmp_path)
    same(case.open(), Case().open())
    assert case.passes == 0


def test_work_is_cut_into_pieces_for_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_states, "PIECE_SECONDS", 1800.0)
    case = Case(tmp_path)
    same(case.open(), Case().open())
    assert len(case.entries()) == 6


def test_utterances_of_one_piece_lie_together(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_states, "PIECE_SECONDS", 1800.0)
    monkeypatch.setattr(dataset_states, "PIECES", 2)
    case = Case(tmp_path)
    same(case.open(), Case().open())
    assert len(case.entries()) == 3
    pr = {"train": [1, 2]}
    half = Case(tmp_path / "half")
    half.open(frames=False)
    same(half.open(splits=pr), Case().open(splits=pr))
    assert half.passes == 2
    half.open(frames=False)
    assert half.passes == 0


def test_half_an_entry_of_a_killed_process_goes_when_it_is_old(tmp_path):
    case = Case(tmp_path)
    case.open()
    left = case.entries()[0].with_name(f".{'0' * 32}.abc.tmp")
    left.mkdir()
    case.open()
    assert left.exists()  # its writer may be alive
    os.utime(left, (1, 1))
    case.open()
    assert not left.exists()


def test_folder_keeps_to_its_limit_and_drops_what_was_used_least_recently(tmp_path):
    case = Case(tmp_path)
    case.open()
    size = sum(f.stat().st_size for entry in case.entries() for f in entry.iterdir())
    first = case.entries()
    for used, entry in enumerate(first):
        os.utime(entry, (used, used))
    for seed in (1, 2):
        other = Case(tmp_path, encoder=build_encoder(dict(CONFIG), seed=seed))
        other.open(limit_gb=2.5 * size / 2**30)
    left = [entry.exists() for entry in first]
    assert left == sorted(left)  # the oldest went first
    assert not left[0]
    assert left[-1]
    total = sum(f.stat().st_size for entry in case.entries() for f in entry.iterdir())
    assert total <= 2.5 * size
    other.open()
    assert other.passes == 0


def test_pooled_keeps_time_means_alone(tmp_path):
    memory = Case().open()
    case = Case(tmp_path, keep="pooled")
    same(case.open(), memory)
    assert {f.name for entry in case.entries() for f in entry.iterdir()} == {MEANS, RECORD}
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
    assert bool(case.entries()) == (keep == "pooled")


def test_need_is_said_and_what_does_not_fit_is_refused(tmp_path, caplog):
    encoder = Case().encoder
    store = HiddenStore(limit_gb=0.001)
    assert frame_bytes(encoder, 1.0, "float32") == 50 * 2 * 16 * 4
    assert mean_bytes(encoder, 3) == 3 * 2 * 16 * 4
    with caplog.at_level(logging.INFO):
        assert not store.check_sizes(encoder, {"a": (3, 10.0)})
    assert "0.4 KiB of time means of 3 utterances" in caplog.text
    assert "half precision" in str(store.check_sizes(encoder, {"a": (3, 3600.0)})["a"])
    on_disk = HiddenStore(limit_gb=1e12, folder=tmp_path)
    error = on_disk.check_sizes(encoder, {"a": (3, 1e12)})["a"]
    assert isinstance(error, SettingsError)
    assert "GiB, which is free" in str(error)
    assert not HiddenStore(limit_gb=0.001, keep="none").check_sizes(encoder, {"a": (3, 3600.0)})


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
    monkeypatch.setattr(dataset_states.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
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
    monkeypatch.setattr(dataset_states, "LARGE_BYTES", 1)
    same(Case(tmp_path).open(), Case().open())
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {INDEX, ".lock"}


def test_batches_of_similar_length_within_the_limit():
    durations = [1.0, 5.0, 2.0, 9.0, 4.9, 1.1]
    batches = length_batches(durations, 10.0)
    assert batches == [[3], [1, 4], [2, 5, 0]]
    assert length_batches([30.0], 10.0) == [[0]]  # one alone may pass it


def test_a_batch_of_a_probe_is_encoded_utterance_by_utterance(tmp_path):
    frames = Case(keep="none", limit_gb=1e-6).open().frames
    before = frames.reader.passes.utterances
    found, lengths = frames.batch([4, 0, 4])
    assert frames.reader.passes.utterances - before == 2
    wanted, same_lengths = Case().open().frames.batch([4, 0, 4])
    assert torch.equal(lengths, same_lengths)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_states_that_are_not_finite_are_not_kept(tmp_path, dtype):
    case = Case(tmp_path, dtype=dtype)
    bias = case.encoder.model.encoder.layer_norm.bias
    with torch.no_grad():
        bias[0] = 1e5 if dtype == "float16" else float("nan")
    expected = "values beyond float16" if dtype == "float16" else "NaN"
    with pytest.raises(DataError, match="not finite") as caught:
        case.open()
    assert caught.value.where == "utterance 1"  # the longest
    assert expected in str(caught.value)
    assert not case.entries()
    with pytest.raises(DataError, match="not finite"):
        Case(encoder=case.encoder, dtype=dtype).open()


def test_eviction_leaves_alone_what_the_store_did_not_write(tmp_path):
    """Seen: every folder with a meta.json below the user's folder was removed to make room."""
    case = Case(tmp_path)
    case.open()
    own = case.entries()
    mine = [tmp_path / "photos" / "2020", tmp_path / ("a" * 32) / ("b" * 32), tmp_path / "x"]
    for folder in mine:
        folder.mkdir(parents=True)
        shutil.copytree(own[0], folder, dirs_exist_ok=True)
        (folder / "meta.json").write_text("{}")
        os.utime(folder, (1, 1))
    with (tmp_path / INDEX).open("a") as file:
        file.write("../outside\nphotos/2020\n")
    size = sum(f.stat().st_size for entry in own for f in entry.iterdir())
    other = Case(tmp_path, encoder=build_encoder(dict(CONFIG), seed=1))
    other.open(limit_gb=1.2 * size / 2**30)
    assert not all(entry.exists() for entry in own)
    assert all((folder / RECORD).is_file() for folder in mine)
