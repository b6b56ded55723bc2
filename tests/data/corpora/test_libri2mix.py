from __future__ import annotations

import shutil

import pytest

from speechft.core.errors import DataError
from speechft.data.load import load_data
from speechft.data.prepare import prepare_data


def turns(cut):
    return [(s.speaker, round(s.start, 4), round(s.end, 4)) for s in cut.supervisions]


def test_reads_the_tree(corpus_tree):
    root = corpus_tree("libri2mix")
    data = load_data(f"libri2mix:{root}")
    assert {name: len(cuts) for name, cuts in data.items()} == {"train": 3, "dev": 2, "test": 2}
    for split, cuts in data.items():
        lines = [line.split() for line in (root / split / "rttm").read_text().splitlines()]
        for cut in cuts:
            wanted = [
                (x[7], round(float(x[3]), 4), round(float(x[3]) + float(x[4]), 4))
                for x in lines
                if x[1] == cut.id
            ]
            assert sorted(turns(cut)) == sorted(wanted)
            assert cut.custom["diarization"]
            assert max(end for _, _, end in wanted) == pytest.approx(cut.duration, abs=1e-3)


def test_prepared_recordings_stay_whole(corpus_tree, tmp_path):
    spec = f"libri2mix:{corpus_tree('libri2mix')}"
    prepare_data(spec, tmp_path / "out")
    before, after = load_data(spec), load_data(str(tmp_path / "out"))
    assert [turns(c) for c in before["dev"]] == [turns(c) for c in after["dev"]]
    assert [c.to_dict() for c in before["dev"]] == [c.to_dict() for c in after["dev"]]


def test_speakers_who_speak_at_the_same_times_stay_apart(corpus_tree):
    root = corpus_tree("libri2mix")
    name = next(iter(load_data(f"libri2mix:{root}")["dev"])).id
    (root / "dev" / "segments").write_text(f"s {name} 0.5 1.5\ns {name} 0.5 1.5\n")
    (root / "dev" / "utt2spk").write_text("s 7\ns 8\n")
    (root / "dev" / "wav.scp").write_text((root / "dev" / "wav.scp").read_text().splitlines()[0])
    (cut,) = load_data(f"libri2mix:{root}")["dev"]
    assert turns(cut) == [("7", 0.5, 1.5), ("8", 0.5, 1.5)]


def test_audio_that_has_moved_is_found(corpus_tree, tmp_path):
    root = corpus_tree("libri2mix")
    before = load_data(f"libri2mix:{root}")
    shutil.move(tmp_path / "libri2mix", tmp_path / "elsewhere")
    after = load_data(f"libri2mix:{tmp_path}/elsewhere/data")
    assert list(after["train"].ids) == list(before["train"].ids)


def test_names_what_is_missing(corpus_tree):
    root = corpus_tree("libri2mix")
    scp, segments = root / "dev" / "wav.scp", root / "dev" / "segments"
    good = scp.read_text()
    scp.write_text(good + "x sph2pipe a |\ny\nz /tmp/z.wav\n")
    with pytest.raises(DataError) as caught:
        load_data(f"libri2mix:{root}")
    assert "x: expected a path, found 'sph2pipe a |'" in str(caught.value)
    assert "y: expected a path, found 'nothing'" in str(caught.value)
    assert "z: no speech in segments" in str(caught.value)
    scp.write_text(good)
    lines = segments.read_text()
    name = good.split()[0]
    segments.write_text(f"{lines}a b\nunknown {name} 0 1\n")
    with pytest.raises(DataError) as caught:
        load_data(f"libri2mix:{root}")
    assert "a: expected 'NAME RECORDING START END'" in str(caught.value)
    assert "unknown: no speaker in utt2spk" in str(caught.value)
    segments.write_text(lines)
    (root / "dev" / "reco2dur").write_text(f"{name} 99.0\n")
    with pytest.raises(DataError, match=r"but 99.00 s in reco2dur"):
        load_data(f"libri2mix:{root}")
    segments.unlink()
    with pytest.raises(DataError, match=r"no dev/segments[\s\S]*s3prl/LibriMix"):
        load_data(f"libri2mix:{root}")
