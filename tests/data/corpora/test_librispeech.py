from __future__ import annotations

import logging

import pytest
from corpus_trees.librispeech import LEXICONS, PHONES

from speechft.core.errors import DataError
from speechft.data.audio import load_waveform, read_audio
from speechft.data.load import load_data
from speechft.data.prepare import prepare_data
from speechft.probing.settings import data_name


def test_reads_the_tree(corpus_tree):
    root = corpus_tree("librispeech")
    for place in (root, root.parent):
        data = load_data(f"librispeech:{place}")
        assert {name: len(cuts) for name, cuts in data.items()} == {
            "train": 8,
            "dev": 4,
            "test": 4,
        }
    cut = data["dev"]["84-227-0001"]
    line = (root / "dev-clean/84/227/84-227.trans.txt").read_text().splitlines()[1]
    assert line == f"84-227-0001 {cut.supervisions[0].text}"
    assert cut.supervisions[0].speaker == "84"
    assert load_waveform(cut).equal(read_audio(cut.recording.sources[0].source))


def test_the_first_pronunciation_counts(corpus_tree):
    root = corpus_tree("librispeech")
    for cut in load_data(f"librispeech:{root}")["train"]:
        letters = cut.supervisions[0].text.replace(" ", "")
        assert cut.supervisions[0].custom["phonemes"] == [PHONES[c] for c in letters if c in PHONES]


def test_every_word_needs_a_pronunciation(corpus_tree):
    root = corpus_tree("librispeech")
    first = (root / LEXICONS[0]).read_text()
    word, _, rest = first.partition("\n")
    (root / LEXICONS[0]).write_text(rest)
    second = root / LEXICONS[1]
    lines = second.read_text().splitlines()
    second.write_text("\n".join(x for x in lines if x.split()[0] != word.split()[0]))
    with pytest.raises(DataError, match=f"the word '{word.split()[0]}' is in no lexicon"):
        load_data(f"librispeech:{root}")
    second.unlink()
    with pytest.raises(DataError, match=f"words are in no lexicon.*there is no {LEXICONS[1]}"):
        load_data(f"librispeech:{root}")
    (root / LEXICONS[0]).unlink()
    cut = next(iter(load_data(f"librispeech:{root}")["train"]))
    assert "phonemes" not in cut.supervisions[0].custom


def test_names_what_is_missing(corpus_tree, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no LibriSpeech[\s\S]*is empty[\s\S]*openslr.org/12"):
        load_data(f"librispeech:{tmp_path}/empty")
    root = corpus_tree("librispeech")
    with pytest.raises(DataError, match=f"no such folder.*\n.*\n.*did you mean {root}\\?"):
        load_data(f"librispeech:{root.parent}/LibriSpech")
    (root / "dev-clean/84/198/84-198-0001.flac").unlink()
    with pytest.raises(DataError, match=r"84-198-0001: no such audio file[\s\S]*openslr.org/12"):
        load_data(f"librispeech:{root}")
    for path in (root / "dev-clean").rglob("*.trans.txt"):
        path.write_text("")
    with pytest.raises(DataError, match="holds no transcript"):
        load_data(f"librispeech:{root}")


def test_a_word_without_a_pronunciation_is_no_bad_audio(corpus_tree, tmp_path):
    root = corpus_tree("librispeech")
    (root / "dev-clean/84/198/84-198-0001.flac").unlink()
    report = prepare_data(f"librispeech:{root}", tmp_path / "out", skip_bad=True)
    assert next(w for w in report.warnings if "84-198-0001" in w).startswith("left out: ")
    for name in LEXICONS:
        lines = (root / name).read_text().splitlines()
        (root / name).write_text("\n".join(lines[1:]))
    with pytest.raises(DataError, match="is in no lexicon"):
        prepare_data(f"librispeech:{root}", tmp_path / "other", skip_bad=True)
    assert not (tmp_path / "other").exists()


def test_nothing_left_is_said(corpus_tree, tmp_path):
    root = corpus_tree("librispeech")
    for path in root.rglob("*.flac"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no utterance that can be used"):
        prepare_data(f"librispeech:{root}", tmp_path / "out", skip_bad=True)


def test_where_to_get_the_lexicon_is_said_once(corpus_tree, caplog):
    root = corpus_tree("librispeech")
    (root / LEXICONS[0]).unlink()
    (root / LEXICONS[1]).unlink()
    with caplog.at_level(logging.INFO, "speechft"):
        load_data(f"librispeech:{root}")
        load_data(f"librispeech:{root}")
    assert caplog.text.count(f"there is no {LEXICONS[0]}: for phoneme recognition") == 1


def test_an_at_in_the_path_is_no_variant(corpus_tree, tmp_path):
    place = tmp_path / "me@lab"
    place.mkdir()
    root = corpus_tree("librispeech").rename(place / "LibriSpeech")
    assert load_data(f"librispeech:{root}")
    assert data_name(f"librispeech:{root}") == "librispeech"
    assert data_name("librispeech:/no/me@lab/LibriSpeech") == "librispeech"
    assert data_name("common_voice:/corpora/cv@cy") == "common_voice@cy"
