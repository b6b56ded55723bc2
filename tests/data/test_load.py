from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lhotse import CutSet

from speechft.core.errors import DataError, SettingsError
from speechft.data.audio import load_waveform
from speechft.data.load import load_data
from speechft.data.synthetic import corpus
from speechft.data.synthetic.corpus import synthetic_cuts
from speechft.data.synthetic.settings import SyntheticSettings


def test_reads_a_folder_of_cuts(tiny, tmp_path):
    for name in ("train", "dev"):
        tiny[name].to_file(tmp_path / f"cuts_{name}.jsonl.gz")
    tiny["test"].to_file(tmp_path / "test.jsonl")
    data = load_data(str(tmp_path))
    assert set(data) == {"train", "dev", "test"}
    for name, cuts in data.items():
        assert [c.to_dict() for c in cuts] == [c.to_dict() for c in tiny[name]]


def test_reads_one_file_of_cuts(tiny, tmp_path):
    for name in ("all.jsonl", "all.jsonl.gz"):
        CutSet.from_cuts([*tiny["train"], *tiny["dev"]]).to_file(tmp_path / name)
        data = load_data(str(tmp_path / name))
        assert sum(len(data[part]) for part in ("train", "dev", "test")) == 20


def test_relative_audio_lies_beside_the_manifest(tiny, tmp_path):
    cut = next(iter(tiny["train"]))
    source = Path(cut.recording.sources[0].source)
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs" / "a.flac").write_bytes(source.read_bytes())
    relative = replace(cut.recording.sources[0], source="wavs/a.flac")
    moved = replace(cut, recording=replace(cut.recording, sources=[relative]))
    CutSet.from_cuts([moved]).to_file(tmp_path / "train.jsonl.gz")
    (read,) = load_data(str(tmp_path))["train"]
    assert load_waveform(read).equal(load_waveform(cut))


def test_cuts_with_several_or_no_supervisions(tiny, tmp_path):
    cut = next(iter(tiny["train"]))
    first = replace(cut.supervisions[0], duration=0.8, text="one")
    second = replace(cut.supervisions[0], id="b", start=0.9, duration=1.0, text="two")
    bare = replace(cut, id="bare", supervisions=[])
    both = replace(cut, supervisions=[first, second])
    CutSet.from_cuts([both, bare]).to_file(tmp_path / "train.jsonl.gz")
    cuts = list(load_data(str(tmp_path))["train"])
    assert [len(c.supervisions) for c in cuts] == [1, 1, 1]
    assert [c.supervisions[0].text for c in cuts] == ["one", "two", None]
    assert len(load_waveform(cuts[0])) == 12800


def test_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(DataError, match="holds no cuts"):
        load_data(str(tmp_path))
    (tmp_path / "train.csv").write_text("audio\n")
    with pytest.raises(DataError, match=r"no such data[\s\S]*did you mean 'train.csv'"):
        load_data(str(tmp_path / "trian.csv"))
    with pytest.raises(DataError, match="no rows"):
        load_data(str(tmp_path))
    (tmp_path / "a.wav").touch()
    with pytest.raises(DataError, match="not known as data"):
        load_data(str(tmp_path / "a.wav"))
    with pytest.raises(SettingsError, match="librispeech"):
        load_data(f"librispech:{tmp_path}")
    with pytest.raises(SettingsError, match="demo"):
        load_data("synthetic:dmo")
    (tmp_path / "bad.jsonl.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="cannot be read"):
        load_data(str(tmp_path / "bad.jsonl.gz"))
    (tmp_path / "broken.jsonl").write_text('{"id": "a", "start": 0, "duration": 1}\n')
    with pytest.raises(DataError, match="cannot be read"):
        load_data(str(tmp_path / "broken.jsonl"))


def test_pretraining_presets_have_train_and_dev(tmp_path, monkeypatch):
    small = SyntheticSettings(pretrain=3, pretrain_dev=2, other_pretrain=1)
    monkeypatch.setenv("SPEECHFT_CACHE", str(tmp_path))
    monkeypatch.setattr(corpus, "PRESETS", {"pretrain": small})
    data = load_data("synthetic:pretrain")
    assert {n: len(c) for n, c in data.items() if n in ("train", "dev")} == {"train": 5, "dev": 2}
    assert len(data["pretrain"]) == 3
    assert set(synthetic_cuts(small)) == {"pretrain", "pretrain_dev", "es_pretrain", "de_pretrain"}
