from __future__ import annotations

import pickle

import pytest
import torch

from speechft.encoders import build_encoder
from speechft.hidden import front_end_cache as module
from speechft.hidden.front_end_cache import (
    FeatureFile,
    FrontEndCache,
    KeptFeatures,
    features_of,
    front_end_id,
)

ROW = torch.zeros(10, 4)  # 160 bytes


@pytest.fixture
def front_end(tiny_config):
    return build_encoder(tiny_config, seed=0)


def test_the_front_end_asked_for_longest_ago_makes_room():
    kept = KeptFeatures(2 * 160)
    kept.keep("one", "a", ROW)
    kept.keep("two", "a", ROW)
    assert "a" in kept.of("one")
    assert "a" in kept.of("two")
    kept.keep("two", "b", ROW)
    assert set(kept.of("two")) == {"a", "b"}
    assert not kept.of("one")


def test_what_has_no_room_is_not_kept():
    kept = KeptFeatures(200)
    for key in "abc":
        kept.keep("one", key, ROW)
    assert set(kept.of("one")) == {"a"}


def test_what_is_missing_is_computed_once_and_comes_in_the_order_asked_for(front_end, monkeypatch):
    cache, asked = FrontEndCache(front_end, [], 1000, KeptFeatures(1000), "abcd"), []
    cache._kept.keep(front_end_id(front_end), "c", ROW + 2)

    def compute(self, indices):
        asked.append(list(indices))
        return [ROW + i for i in indices]

    monkeypatch.setattr(FrontEndCache, "_compute", compute)
    found = cache.load([3, 2, 0, 3])
    assert asked == [[3, 0]]
    assert [float(own[0, 0]) for own in found] == [3, 2, 0, 3]
    cache.load([0, 2, 3])
    assert asked == [[3, 0]]


def test_what_memory_has_no_room_for_lies_on_the_disk_up_to_its_limit(
    front_end, tmp_path, monkeypatch
):
    """Memory has room for one utterance and the disk for two; the fourth is computed again."""
    rows = {i: torch.randn(3 + i, 5, generator=torch.Generator().manual_seed(i)) for i in range(4)}
    file = FeatureFile(tmp_path, rows[1].nbytes + rows[2].nbytes)
    kept = KeptFeatures(rows[0].nbytes)
    cache, asked = FrontEndCache(front_end, [], 0, kept, "abcd", file), []

    def compute(self, indices):
        asked.append(list(indices))
        return [rows[i] for i in indices]

    monkeypatch.setattr(FrontEndCache, "_compute", compute)
    for _ in range(2):
        found = cache.load([0, 1, 2, 3])
        assert all(torch.equal(one, rows[i]) for i, one in enumerate(found))
    assert torch.equal(cache.load([2])[0], rows[2])
    assert asked == [[0, 1, 2, 3], [3]]
    assert (cache.asked, cache.served) == (9, 4)
    assert list(tmp_path.iterdir()) == []  # a process that is killed leaves nothing


def test_a_full_disk_ends_keeping_and_not_the_run(tmp_path, caplog):
    file = FeatureFile(tmp_path / "nowhere", 10**6)
    file.keep("a", ROW)
    file.keep("b", ROW)
    assert file.get("a") is None
    assert caplog.text.count("no more on the disk") == 1


def test_features_do_not_depend_on_the_batch(front_end):
    waves = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (9000, 4000)]
    together = features_of(front_end, waves)
    assert all(
        torch.equal(features_of(front_end, [w])[0], f) for w, f in zip(waves, together, strict=True)
    )
    assert features_of(front_end, []) == []


def test_another_process_starts_with_nothing():
    kept = KeptFeatures(1000)
    kept.keep("one", "a", ROW)
    assert not pickle.loads(pickle.dumps(kept)).of("one")


def test_audio_is_decoded_ahead_of_need(front_end, synthetic_splits, monkeypatch):
    cuts = list(synthetic_splits["sid_dev"])[:3]
    cache = FrontEndCache(front_end, cuts)
    wanted = FrontEndCache(front_end, cuts).load([2, 0])
    cache.expect([2, 0])
    assert set(cache.waveforms._decoding) == {0, 2}
    found = cache.load([2, 0])
    assert not cache.waveforms._decoding
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    cache.expect([2, 0])  # both are kept
    assert not cache.waveforms._decoding


def test_what_changes_the_output_changes_the_hash(front_end):
    known = front_end_id(front_end)
    with torch.no_grad():
        front_end.model.encoder.layer_norm.weight += 1
    assert front_end_id(front_end) == known  # behind the front end
    with torch.autocast("cpu", torch.bfloat16):
        assert front_end_id(front_end) != known
    front_end.preprocessor = {**front_end.preprocessor, "do_normalize": True}
    normalised = front_end_id(front_end)
    assert normalised != known
    with torch.no_grad():
        front_end.model.feature_extractor.conv_layers[0].conv.weight[0, 0, 0] += 1e-3
    assert front_end_id(front_end) not in {known, normalised}


def test_features_are_computed_once_for_several_runs(front_end, synthetic_splits, monkeypatch):
    cuts = list(synthetic_splits["sid_dev"])[:2]
    alone = FrontEndCache(front_end, cuts).load([0, 1])
    kept = KeptFeatures(1 << 20)
    first = FrontEndCache(front_end, cuts, 0, kept, ["x", "y"]).load([0, 1])
    monkeypatch.setattr(FrontEndCache, "_compute", lambda self, index: pytest.fail("again"))
    second = FrontEndCache(front_end, cuts[::-1], 0, kept, ["y", "x"]).load([1, 0])
    for rows in zip(alone, first, second, strict=True):
        assert all(torch.equal(rows[0], other) for other in rows[1:])


@pytest.mark.parametrize("change", [{"feat_extract_activation": "relu"}, {"layer_norm_eps": 1e-2}])
def test_another_model_around_the_same_weights_has_another_hash(front_end, tiny_config, change):
    other = build_encoder({**tiny_config, **change}, seed=0)
    assert front_end_id(other) != front_end_id(front_end)
    assert front_end_id(front_end.double()) != front_end_id(build_encoder(tiny_config, seed=0))


def test_the_hash_is_taken_where_the_encoder_computes(front_end, synthetic_splits, monkeypatch):
    """Training moves the encoder to its device after the cache was made."""
    kept = KeptFeatures(1 << 20)
    cache = FrontEndCache(front_end, list(synthetic_splits["sid_dev"])[:1], 0, kept, ["x"])
    monkeypatch.setattr(module, "front_end_id", lambda encoder: "where it is now")
    cache.load([0])
    assert "x" in kept.of("where it is now")


def test_a_view_does_not_hold_what_it_was_cut_from():
    kept = KeptFeatures(1000)
    kept.keep("one", "a", torch.zeros(1000, 4)[:10])
    assert kept.of("one")["a"].untyped_storage().nbytes() == 160
