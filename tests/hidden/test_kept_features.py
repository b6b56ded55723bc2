from __future__ import annotations

import pickle

import pytest
import torch

from speechft.encoders import build_encoder
from speechft.hidden import kept_features
from speechft.hidden.front_end_cache import FrontEndCache
from speechft.hidden.inputs import features_of
from speechft.hidden.kept_features import KeptFeatures, front_end_hash

ROW = torch.zeros(10, 4)  # 160 bytes


@pytest.fixture
def front_end(tiny_config):
    return build_encoder(tiny_config, seed=0)


def test_the_front_end_asked_for_longest_ago_makes_room(tiny_config):
    kept = KeptFeatures(2 * 160)
    shelves = [kept.shelf(build_encoder(tiny_config, seed), "ab") for seed in range(2)]
    for shelf in shelves:
        shelf.keep(0, ROW)
    assert all(0 in shelf for shelf in shelves)
    shelves[1].keep(1, ROW)
    assert 0 not in shelves[0]
    assert all(index in shelves[1] for index in (0, 1))


def test_what_has_no_room_is_not_kept(front_end):
    shelf = KeptFeatures(200).shelf(front_end, "abc")
    for index in range(3):
        shelf.keep(index, ROW)
    assert [index in shelf for index in range(3)] == [True, False, False]


def test_what_is_missing_is_computed_once_and_comes_in_the_order_asked_for(front_end):
    shelf = KeptFeatures(1000).shelf(front_end, "abcd")
    shelf.keep(2, ROW + 2)
    asked = []

    def compute(indices):
        asked.append(list(indices))
        return [ROW + i for i in indices]

    found = shelf.load([3, 2, 0, 3], compute)
    assert asked == [[3, 0]]
    assert [float(own[0, 0]) for own in found] == [3, 2, 0, 3]
    assert 0 in shelf
    shelf.load([0, 2, 3], compute)
    assert asked == [[3, 0]]


def test_features_do_not_depend_on_the_batch(front_end):
    waves = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (9000, 4000)]
    together = features_of(front_end, waves)
    assert all(
        torch.equal(features_of(front_end, [w])[0], f) for w, f in zip(waves, together, strict=True)
    )
    assert features_of(front_end, []) == []


def test_the_same_audio_is_found_at_another_place(front_end):
    kept = KeptFeatures(1000)
    kept.shelf(front_end, ["x", "y"]).keep(1, ROW + 3)
    again = kept.shelf(front_end, ["y"])
    assert torch.equal(again.get(0), ROW + 3)


def test_another_process_starts_with_nothing(front_end):
    kept = KeptFeatures(1000)
    kept.shelf(front_end, "a").keep(0, ROW)
    assert 0 not in pickle.loads(pickle.dumps(kept)).shelf(front_end, "a")


def test_what_changes_the_output_changes_the_hash(front_end):
    known = front_end_hash(front_end)
    with torch.no_grad():
        front_end.model.encoder.layer_norm.weight += 1
    assert front_end_hash(front_end) == known  # behind the front end
    with torch.autocast("cpu", torch.bfloat16):
        assert front_end_hash(front_end) != known
    front_end.preprocessor = {**front_end.preprocessor, "do_normalize": True}
    normalised = front_end_hash(front_end)
    assert normalised != known
    with torch.no_grad():
        front_end.model.feature_extractor.conv_layers[0].conv.weight[0, 0, 0] += 1e-3
    assert front_end_hash(front_end) not in {known, normalised}


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
    assert front_end_hash(other) != front_end_hash(front_end)
    assert front_end_hash(front_end.double()) != front_end_hash(build_encoder(tiny_config, seed=0))


def test_the_hash_is_taken_where_the_encoder_computes(front_end, synthetic_splits, monkeypatch):
    """Training moves the encoder to its device after the cache was made."""
    kept = KeptFeatures(1 << 20)
    cache = FrontEndCache(front_end, list(synthetic_splits["sid_dev"])[:1], 0, kept, ["x"])
    monkeypatch.setattr(kept_features, "front_end_hash", lambda encoder: "where it is now")
    cache.load([0])
    assert kept.find("where it is now", "x") is not None


def test_a_view_does_not_hold_what_it_was_cut_from(front_end):
    shelf = KeptFeatures(1000).shelf(front_end, "a")
    shelf.keep(0, torch.zeros(1000, 4)[:10])
    assert shelf.get(0).untyped_storage().nbytes() == 160
