"""`synthetic:PRESET@LANGUAGE`: the splits of one language under the usual names."""

import pytest

from speechft.core.errors import DataError, SettingsError
from speechft.data.check import check_loaded
from speechft.data.load import find_data, load_data
from speechft.data.synthetic import corpus
from speechft.data.synthetic.settings import PRESETS, SyntheticSettings
from speechft.data.synthetic.utterance_plan import make_plan
from speechft.pipeline.recipe.cost_estimate import hours_of_audio


@pytest.fixture(autouse=True)
def _presets(monkeypatch, synthetic_splits):
    """The tiny corpus under the name tiny; `poor` holds English alone, `bare` no labelled split."""
    poor = {n: c for n, c in synthetic_splits.items() if n[:3] not in ("es_", "de_")}
    bare = {n: c for n, c in synthetic_splits.items() if n.endswith("pretrain")}
    known = {"tiny": dict(synthetic_splits), "poor": poor, "bare": bare}
    monkeypatch.setattr(corpus, "synthetic_cuts", lambda preset: dict(known[preset]))


def test_a_language_under_the_usual_names(synthetic_splits):
    data = load_data("synthetic:tiny@es")
    assert set(data) == {"train", "dev", "test", "pretrain"}
    for name, cuts in data.items():
        assert list(cuts.ids) == list(synthetic_splits[f"es_{name}"].ids)
        assert {s.language for c in cuts for s in c.supervisions} == {"es"}
        assert all(cut.custom["synthetic"] for cut in cuts)


def test_english_is_a_language_too(synthetic_splits):
    data = load_data("synthetic:tiny@en")
    assert set(data) == {n for n in synthetic_splits if n[:3] not in ("es_", "de_")}
    assert "sid_train" in data
    assert "pretrain_dev" in data


def test_without_a_language_nothing_has_changed(synthetic_splits):
    assert set(load_data("synthetic:tiny")) == set(synthetic_splits)


def test_speech_for_pretraining_alone_is_joined_to_train():
    assert len(load_data("synthetic:bare@de")["train"]) == 2
    assert len(load_data("synthetic:bare")["train"]) == 16


@pytest.mark.parametrize("spec", ["synthetic:tiny@fr", "synthetic:tiny@", "synthetic:tiny@ES"])
def test_an_unknown_language_names_the_known_ones(spec):
    with pytest.raises(SettingsError, match="en, es, de"):
        load_data(spec)


def test_a_preset_without_the_language():
    with pytest.raises(DataError, match="no speech in the language 'es'"):
        load_data("synthetic:poor@es")


def test_an_unknown_preset_is_still_named(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(SettingsError, match="preset of synthetic speech 'tny'"):
        load_data("synthetic:tny@es")


def test_a_check_finds_nothing_wrong_and_calls_it_synthetic():
    report = check_loaded(find_data("synthetic:tiny@es"), decode=False)
    assert report.errors == []
    assert report.summary["train"]["languages"] == ["es"]
    assert all(about["synthetic"] for about in report.summary.values())


def test_the_preset_of_languages_shares_nothing_between_splits():
    few = PRESETS["languages"].model_copy(update={"other_pretrain": 150, "other_train": 200})
    plan = make_plan(few)
    assert {name.partition("_")[0] for name in plan} == {"es", "de"}
    for language in ("es", "de"):
        own = [plan[n] for n in plan if n.startswith(language)]
        for kind in (lambda p: p.sentence.text, lambda p: p.speaker):
            sets = [{kind(p) for p in split} for split in own]
            assert sum(map(len, sets)) == len(set.union(*sets))


def test_sizes_know_a_made_corpus(monkeypatch, tmp_path):
    monkeypatch.setenv("SPEECHFT_CACHE", str(tmp_path))
    assert hours_of_audio("synthetic:tiny@es") is None
    corpus.corpus_folder(PRESETS["tiny"]).mkdir(parents=True)
    assert set(hours_of_audio("synthetic:tiny@es")) == {"train", "dev", "test", "pretrain"}


def test_older_presets_are_where_they_were():
    """A changed preset would make everybody's corpora anew, under other names."""
    names = {name: corpus.corpus_folder(s).name for name, s in PRESETS.items()}
    assert names["study"] == corpus.corpus_folder(
        SyntheticSettings(
            train=900, dev=200, test=500, train_speakers=80, dev_speakers=20, test_speakers=40,
            sid_speakers=50, sid_train=12, sid_dev=4, sid_test=8,
            other_train=120, other_dev=40, other_test=60, other_speakers=10,
        )
    ).name  # fmt: skip
    assert names["tiny"] == "1de5e5b14f1aa9f1"
