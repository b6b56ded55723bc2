from __future__ import annotations

import pytest
import torch

from speechft.core.errors import DataError, SettingsError
from speechft.stages.hidden_store import HiddenStore, frame_bytes, length_batches


class Source:
    """Front-end features of random waveforms, one utterance at a time."""

    def __init__(self, encoder, count=5):
        generator = torch.Generator().manual_seed(0)
        sizes = [4000 + 1700 * ((3 * i) % count) for i in range(count)]
        self.waves = [torch.randn(n, generator=generator) * 0.1 for n in sizes]
        self.durations = [n / 16000 for n in sizes]
        self.encoder, self.calls = encoder, 0

    @torch.no_grad()
    def load(self, indices):
        self.calls += 1
        waves = [self.waves[i][None] for i in indices]
        return [self.encoder.front_end(w, torch.tensor([w.shape[1]]))[0][0] for w in waves]


def split(store, encoder, source, frames=True, **hashes):
    given = {"data_hash": "d", "encoder_hash": "e", **hashes}
    return store.split(encoder, source, range(len(source.waves)), frames=frames, **given)


def test_states_are_those_of_each_utterance_alone(tiny_encoder):
    encoder = tiny_encoder.requires_grad_(False)
    source = Source(encoder)
    states = split(HiddenStore(batch_seconds=1.2), encoder, source)
    assert source.calls > 1
    for i, wave in enumerate(source.waves):
        alone = encoder([wave])
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


def test_time_means_do_not_depend_on_the_type_of_frames(tiny_encoder):
    encoder = tiny_encoder.requires_grad_(False)
    source = Source(encoder)
    half = split(HiddenStore(dtype="float16"), encoder, source)
    full = split(HiddenStore(), encoder, source)
    assert half.frames.frames.dtype == torch.float16
    assert torch.equal(half.pooled.means, full.pooled.means)
    no_frames = split(HiddenStore(), encoder, source, frames=False)
    assert no_frames.frames is None
    assert torch.equal(no_frames.pooled.means, full.pooled.means)


def test_states_can_be_trained_on(tiny_encoder):
    encoder = tiny_encoder.requires_grad_(False)
    states = split(HiddenStore(), encoder, Source(encoder))
    weight = torch.ones(3, requires_grad=True)
    batch, _ = states.frames.batch([0])
    (weight @ batch.flatten(1)).sum().backward()
    assert weight.grad is not None


def test_disk_gives_the_same_and_is_read_again(tiny_encoder, tmp_path):
    encoder = tiny_encoder.requires_grad_(False)
    source = Source(encoder)
    memory = split(HiddenStore(), encoder, source)
    store = HiddenStore(folder=tmp_path)
    for _ in range(2):
        states = split(store, encoder, source)
        assert torch.equal(states.pooled.means, memory.pooled.means)
        for i in range(len(source.waves)):
            assert torch.equal(states.frames.batch([i])[0], memory.frames.batch([i])[0])
    calls = source.calls
    split(store, encoder, source)
    assert source.calls == calls
    for other in ({"data_hash": "x"}, {"encoder_hash": "x"}, {"frames": False}):
        split(store, encoder, source, **other)
        assert source.calls > calls
        calls = source.calls
    split(HiddenStore(folder=tmp_path, dtype="float16"), encoder, source)
    assert source.calls > calls


def test_folder_keeps_to_its_limit_and_drops_the_oldest(tiny_encoder, tmp_path):
    encoder = tiny_encoder.requires_grad_(False)
    source = Source(encoder)
    split(HiddenStore(folder=tmp_path), encoder, source)
    (only,) = tmp_path.iterdir()
    size = sum(f.stat().st_size for f in only.iterdir())
    store = HiddenStore(folder=tmp_path, limit_gb=2.5 * size / 2**30)
    for name in ("b", "c"):
        split(store, encoder, source, data_hash=name)
    assert len(list(tmp_path.iterdir())) == 2
    assert not only.exists()


def test_what_does_not_fit_is_refused_before_it_starts(tiny_encoder):
    store = HiddenStore(limit_gb=0.001)
    assert frame_bytes(tiny_encoder, 1.0, "float32") == 50 * 3 * 32 * 4
    store.check_size(tiny_encoder, 10)
    with pytest.raises(SettingsError, match="half precision"):
        store.check_size(tiny_encoder, 3600)


def test_audio_longer_than_its_cut_is_refused(tiny_encoder):
    source = Source(tiny_encoder)
    source.durations = [0.1] * len(source.durations)
    with pytest.raises(DataError, match="more audio than its cut says"):
        split(HiddenStore(), tiny_encoder, source)


def test_batches_of_similar_length_within_the_limit():
    durations = [1.0, 5.0, 2.0, 9.0, 4.9, 1.1]
    batches = length_batches(durations, 10.0)
    assert batches == [[3], [1, 4], [2, 5, 0]]
    assert length_batches([30.0], 10.0) == [[0]]  # one alone may pass it
