"""A corpus is looked for before it is read: cheaply, and with all that its tasks need."""

from __future__ import annotations

import os

import pytest
from corpus_trees import MAKERS

from speechft.core.errors import DataError
from speechft.data.corpora import corpora
from speechft.data.load import load_data

VARIANT = {"common_voice": "cy"}
AUDIO = {".wav", ".flac", ".sph", ".mp3", ".ogg", ".g722", ".gsm", ".alaw"}
LISTS = {
    ("librispeech", "pr"): "librispeech-lexicon-200k-g2p.txt",
    ("librispeech", "asr"): "",
    ("voxceleb1", "sid"): "iden_split.txt",
    ("voxceleb1", "asv"): "voxceleb1_test_v2.txt",
}


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_found_where_it_can_be_read_and_not_where_folders_are_all(name, corpus_tree, monkeypatch):
    root, corpus, variant = corpus_tree(name), corpora()[name], VARIANT.get(name, "")
    with monkeypatch.context() as patch:  # nothing is decoded for it
        patch.setattr("speechft.data.utterances._read_header", None)
        assert corpus.look(root, variant, ["pr", "sid", "asv", "er"]).is_dir()
    for path in root.parent.rglob("*"):
        if path.suffix.lower() in AUDIO:
            path.unlink()
    with pytest.raises(DataError) as found:
        corpus.look(root, variant)
    with pytest.raises(DataError, match=found.value.what):  # who reads it says the same
        corpus.load(root, variant)
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.unlink()
    with pytest.raises(DataError, match="next: "):
        corpus.look(root, variant)


@pytest.mark.parametrize(("name", "task"), LISTS)
def test_lists_are_asked_for_by_the_tasks_that_read_them(name, task, corpus_tree):
    root, corpus = corpus_tree(name), corpora()[name]
    every = {one for _, one in LISTS if one} | {"er"}
    assert corpus.look(root, "", every)
    if not (lost := LISTS[name, task]):
        for file in ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt"):
            (root / file).unlink()
        assert corpus.look(root, "", [task])
        return
    (root / lost).unlink()
    with pytest.raises(DataError, match=f"there is no {lost}[\\s\\S]*https://"):
        corpus.look(root, "", [task])
    assert corpus.look(root, "", {"sid": ["asv"], "asv": ["sid"], "pr": ["asr"]}[task])
    assert load_data(f"{name}:{root}")


def test_a_part_that_tasks_read_is_asked_for(corpus_tree):
    root = corpus_tree("librispeech")
    os.rename(root / "dev-clean", root / "dev-other")
    corpora()["librispeech"].look(root)  # its audio will do
    with pytest.raises(DataError, match="there is no dev-clean"):
        corpora()["librispeech"].look(root, "", ["asr"])


def test_lexicons_may_lie_beside_the_corpus(corpus_tree):
    root = corpus_tree("librispeech")
    (root.parent / "lexicon").mkdir()
    for path in root.glob("*.txt"):
        path.rename(root.parent / "lexicon" / path.name)
    assert corpora()["librispeech"].look(root, "", ["pr"]) == root
    cut = next(iter(load_data(f"librispeech:{root}")["train"]))
    assert cut.supervisions[0].custom["phonemes"]
