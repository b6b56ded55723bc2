from __future__ import annotations

import pytest
from corpus_trees.librispeech import LEXICONS, PHONES

from speechft.core.errors import DataError
from speechft.data.audio import load_waveform, read_audio
from speechft.data.sources import load_data


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
