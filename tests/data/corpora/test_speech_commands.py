from __future__ import annotations

import shutil
from collections import Counter

import pytest

from speechft.core.errors import DataError
from speechft.data.corpora.speech_commands import split_of
from speechft.data.load import load_data


def test_reads_the_tree(corpus_tree):
    data = load_data(f"speech_commands:{corpus_tree('speech_commands')}")
    labels = {
        name: Counter(cut.supervisions[0].custom["label"] for cut in cuts)
        for name, cuts in data.items()
    }
    assert set(labels["test"].values()) == {1}
    assert len(labels["test"]) == len(labels["train"]) == len(labels["dev"]) == 12
    # Ten words and two others by two speakers, one speaker; a third is discarded by its hash.
    assert (labels["train"]["yes"], labels["train"]["_unknown_"]) == (2, 4)
    assert (labels["dev"]["yes"], labels["dev"]["_unknown_"]) == (1, 2)
    for name in ("train", "dev"):
        for cut in data[name]:
            if cut.supervisions[0].speaker:
                assert split_of(f"{cut.supervisions[0].speaker}_nohash_0.wav") == name


def test_a_background_file_is_one_item_of_train_and_dev(corpus_tree):
    data = load_data(f"speech_commands:{corpus_tree('speech_commands')}")
    noise = [
        [cut for cut in data[name] if cut.supervisions[0].custom["label"] == "_silence_"]
        for name in ("train", "dev")
    ]
    assert [cut.id for cut in noise[0]] == [cut.id for cut in noise[1]]
    assert len(noise[0]) == 2
    assert {cut.duration for cut in noise[0]} == {4.5}


def test_split_follows_the_speaker():
    shares = [split_of(f"{i:08x}_nohash_0.wav") for i in range(4000)]
    for name, share in (("dev", 0.1), ("discarded", 0.1), ("train", 0.8)):
        assert abs(shares.count(name) / 4000 - share) < 0.02
    # SHA-1 modulo 2^27 keeps the last 27 bits: these three end in 9.6, 16.4, 51.0 percent.
    assert split_of("00000000_nohash_1.wav") == "dev"
    assert split_of("00000002_nohash_1.wav") == "discarded"
    assert split_of("00000001_nohash_1.wav") == "train"
    assert split_of("yes/0a7c2a8d_nohash_0.wav") == split_of("no/0a7c2a8d_nohash_4.wav")


def test_names_what_is_missing(corpus_tree, tmp_path):
    with pytest.raises(DataError, match=r"not complete[\s\S]*download.tensorflow.org"):
        load_data(f"speech_commands:{tmp_path}")
    root = corpus_tree("speech_commands")
    for path in (root / "speech_commands_v0.01").glob("*/00000000_nohash_0.wav"):
        path.unlink()
    with pytest.raises(DataError, match="no audio for the split 'dev'"):
        load_data(f"speech_commands:{root}")
    shutil.rmtree(root / "speech_commands_test_set_v0.01")
    with pytest.raises(DataError, match=r"no speech_commands_test_set_v0\.01"):
        load_data(f"speech_commands:{root}")
    (root / "speech_commands_test_set_v0.01").mkdir()
    with pytest.raises(DataError, match=r"no file speech_commands_test_set_v0\.01"):
        load_data(f"speech_commands:{root}")
    with pytest.raises(DataError, match="no such folder"):
        load_data(f"speech_commands:{root}/nowhere")
