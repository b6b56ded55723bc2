from __future__ import annotations

from itertools import combinations

import pytest

from speechft.core.errors import DataError
from speechft.data.corpora import fillets
from speechft.data.corpora.fillets import split_levels
from speechft.data.load import find_data, load_data


def test_splits_share_no_level_no_audio_and_no_text(corpus_tree):
    data = load_data(f"fillets:{corpus_tree('fillets').parents[3]}")
    assert {"train", "dev", "test", "aside"} < set(data)
    own = {name: list(data[name]) for name in ("train", "dev", "test", "aside")}
    for one, other in combinations(own.values(), 2):
        for what in (
            lambda c: c.recording.sources[0].source.split("/")[-3],
            lambda c: (c.supervisions[0].language, c.supervisions[0].text),
        ):
            assert not {what(cut) for cut in one} & {what(cut) for cut in other}
    texts = [c.supervisions[0].text for cuts in own.values() for c in cuts]
    assert texts.count("Voda!") == len([c for c in own["aside"] if c.id.endswith("v-voda")]) // 2
    assert any("repeat" in note for note in find_data(f"fillets:{corpus_tree('fillets')}").notes)


def test_labels(corpus_tree):
    data = load_data(f"fillets:{corpus_tree('fillets')}@cs")
    cuts = [cut for name in ("train", "dev", "test", "aside") for cut in data[name]]
    assert {cut.supervisions[0].language for cut in cuts} == {"cs"}
    assert {cut.supervisions[0].speaker for cut in cuts} == {"cs-big", "cs-small"}
    first = next(c for c in cuts if c.supervisions[0].text == "To je vrak číslo dva.")
    custom = first.supervisions[0].custom
    assert custom["phonemes"][:6] == ["t", "o", "j", "e", "v", "r"]
    assert custom["phonemes_by"] == "eSpeak NG"
    assert not any(cut.id.endswith("hudba") for cut in cuts)


def test_only_voices_with_enough_utterances_are_speakers(corpus_tree):
    few = load_data(f"fillets:{corpus_tree('fillets', levels=5)}@nl")
    assert "sid_train" not in few
    data = load_data(f"fillets:{corpus_tree('fillets')}@nl")
    assert {cut.supervisions[0].speaker for cut in data["sid_train"]} == {"nl-big", "nl-small"}


def test_a_fifth_of_the_levels_is_kept_aside_by_their_names():
    homes = split_levels({f"level{n}" for n in range(80)})
    counts = [list(homes.values()).count(n) for n in ("aside", "test", "dev", "train")]
    assert counts == [16, 16, 8, 40]
    assert homes == split_levels({f"level{n}" for n in reversed(range(80))})


def test_what_is_kept_aside_is_tested_on_where_that_is_asked_for_and_only_there(corpus_tree):
    root = corpus_tree("fillets")
    usual, other = load_data(f"fillets:{root}@cs"), load_data(f"fillets:{root}@cs-aside")
    ids = {(n, part): {c.id for c in d[part]} for n, d in enumerate((usual, other)) for part in d}
    assert (1, "aside") not in ids
    assert ids[1, "test"] == ids[0, "aside"]
    for part in ("train", "dev", "sid_train"):
        assert ids[1, part] == ids[0, part]
    assert ids[1, "sid_test"] <= ids[0, "aside"]
    assert not ids[1, "sid_test"] & ids[0, "sid_test"]


def test_a_voice_that_training_never_hears_is_no_speaker(corpus_tree, monkeypatch):
    root = corpus_tree("fillets")
    monkeypatch.setattr(fillets, "FEWEST", 2)
    levels = {path.parent.name for path in root.glob("script/*/dialogs_cs.lua")}
    for level in (name for name, home in split_levels(levels).items() if home == "aside"):
        script = root / "script" / level / "dialogs_cs.lua"
        script.write_text(script.read_text("utf-8").replace("font_small", "font_ghost"), "utf-8")
    data = load_data(f"fillets:{root}@cs-aside")
    said = {n: {c.supervisions[0].speaker for c in data[n]} for n in ("test", "sid_test")}
    assert said == {"test": {"cs-big", "cs-ghost"}, "sid_test": {"cs-big"}}


def test_names_what_is_missing(corpus_tree, tmp_path):
    with pytest.raises(DataError, match=r"no script[\s\S]*apt-get download"):
        load_data(f"fillets:{tmp_path}")
    for part in ("script", "sound"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match=r"no file sound/[\s\S]*apt-get download"):
        load_data(f"fillets:{tmp_path}")
