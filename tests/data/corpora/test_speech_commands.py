from __future__ import annotations

import shutil

import pytest

from speechft.core.errors import DataError
from speechft.data.corpora.speech_commands import split_of
from speechft.data.sources import load_data


def lay_out(root, lay):
    """Lay synthetic speech in the tree of Speech Commands v0.01 and its test set."""
    train, test = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
    for word in ("yes", "cat"):
        for speaker in ("0a7c2a8d", "004ae714", "00b01445", "01bb6a2a", "012c8314", "0132a06d"):
            lay(train / word / f"{speaker}_nohash_0.wav", 1.0)
    lay(train / "_background_noise_" / "running_tap.wav", 2.5)
    for name in ("yes", "_unknown_", "_silence_"):
        lay(test / name / "0a7c2a8d_nohash_0.wav", 1.0)
    return root


def test_reads_the_tree(tmp_path, lay):
    data = load_data(f"speech_commands:{lay_out(tmp_path, lay)}")
    labels = {
        name: sorted(cut.supervisions[0].custom["label"] for cut in cuts)
        for name, cuts in data.items()
    }
    assert labels["test"] == ["_silence_", "_unknown_", "yes"]
    assert set(labels["train"]) == {"_silence_", "_unknown_", "yes"}
    for name in ("train", "dev"):
        assert labels[name].count("_silence_") == 2
        for cut in data[name]:
            label = cut.supervisions[0].custom["label"]
            if label == "_silence_":
                assert cut.duration == 1.0
            else:
                assert split_of(f"{cut.supervisions[0].speaker}_nohash_0.wav") == name
    spoken = [c for n in ("train", "dev") for c in data[n] if c.supervisions[0].speaker]
    discarded = sum(
        split_of(p.name) == "discarded"
        for p in (tmp_path / "speech_commands_v0.01").glob("*/*_nohash_*.wav")
    )
    assert len(spoken) + discarded == 12


def test_split_follows_the_speaker():
    shares = [split_of(f"{i:08x}_nohash_0.wav") for i in range(4000)]
    for name, share in (("dev", 0.1), ("discarded", 0.1), ("train", 0.8)):
        assert abs(shares.count(name) / 4000 - share) < 0.02
    # SHA-1 modulo 2^27 keeps the last 27 bits: these three end in 9.6, 16.4, 51.0 percent.
    assert split_of("00000000_nohash_1.wav") == "dev"
    assert split_of("00000002_nohash_1.wav") == "discarded"
    assert split_of("00000001_nohash_1.wav") == "train"
    assert split_of("yes/0a7c2a8d_nohash_0.wav") == split_of("no/0a7c2a8d_nohash_4.wav")


def test_names_what_is_missing(tmp_path, lay):
    with pytest.raises(DataError, match=r"not complete[\s\S]*download.tensorflow.org"):
        load_data(f"speech_commands:{tmp_path}")
    root = lay_out(tmp_path, lay)
    shutil.rmtree(root / "speech_commands_test_set_v0.01")
    with pytest.raises(DataError, match=r"no speech_commands_test_set_v0\.01"):
        load_data(f"speech_commands:{root}")
    (root / "speech_commands_test_set_v0.01").mkdir()
    with pytest.raises(DataError, match="no audio for the split 'test'"):
        load_data(f"speech_commands:{root}")
    with pytest.raises(DataError, match="no such folder"):
        load_data(f"speech_commands:{root}/nowhere")
