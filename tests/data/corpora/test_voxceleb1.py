from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.load import find_data, load_data


def test_reads_the_tree(corpus_tree):
    data = load_data(f"voxceleb1:{corpus_tree('voxceleb1')}")
    for number, name in enumerate(("train", "dev", "test"), start=1):
        cuts = list(data[name])
        speakers = [cut.supervisions[0].speaker for cut in cuts]
        assert speakers == ["id10001", "id10002", "id10003", "id10270", "id10271"]
        path = cuts[3].recording.sources[0].source
        assert path.endswith(f"test/wav/id10270/video{number}/00001.wav")
    assert data["dev"]["id10002-video2-00001"].duration > 1


def test_verification(corpus_tree):
    root = corpus_tree("voxceleb1")
    data = load_data(f"voxceleb1:{root}")
    speakers = [cut.supervisions[0].speaker for cut in data["asv_train"]]
    assert speakers == ["id10001"] * 3 + ["id10002"] * 3 + ["id10003"] * 3
    lines = [line.split() for line in (root / "voxceleb1_test_v2.txt").read_text().splitlines()]
    wanted = [(int(x), *(p[:-4].replace("/", "-") for p in pair)) for x, *pair in lines]
    found = [
        (same, cut.id, other)
        for cut in data["asv_test"]
        for other, same in (cut.supervisions[0].custom or {}).get("trials", ())
    ]
    assert sorted(found) == sorted(wanted)
    assert {name for _, *pair in wanted for name in pair} == set(data["asv_test"].ids)
    assert "trials" not in (data["test"]["id10270-video3-00001"].supervisions[0].custom or {})


def test_a_list_may_be_missing_but_not_both(corpus_tree):
    root = corpus_tree("voxceleb1")
    trials = (root / "voxceleb1_test_v2.txt").read_text()
    (root / "voxceleb1_test_v2.txt").unlink()
    loaded = find_data(f"voxceleb1:{root}")
    assert set(loaded.splits) == {"train", "dev", "test", "asv_train"}
    assert "there is no voxceleb1_test_v2.txt, get it from" in loaded.notes[0]
    listing = root / "iden_split.txt"
    good = listing.read_text()
    listing.unlink()
    with pytest.raises(DataError, match=r"no list of splits[\s\S]*robots.ox.ac.uk"):
        load_data(f"voxceleb1:{root}")
    (root / "veri_test_class.txt").write_text(good)
    assert len(load_data(f"voxceleb1:{root}")["train"]) == 5
    (root / "veri_test_class.txt").unlink()
    (root / "voxceleb1_test_v2.txt").write_text(trials)
    assert set(load_data(f"voxceleb1:{root}")) == {"asv_train", "asv_test"}


def test_names_what_is_missing(corpus_tree, tmp_path):
    with pytest.raises(DataError, match=r"no dev/wav, no test/wav[\s\S]*iden_split"):
        load_data(f"voxceleb1:{tmp_path}")
    root = corpus_tree("voxceleb1")
    listing, trials = root / "iden_split.txt", root / "voxceleb1_test_v2.txt"
    good = listing.read_text()
    listing.write_text(good + "4 id10001/x/1.wav\nnonsense\n")
    with pytest.raises(DataError, match=r"2 problems[\s\S]*line 16[\s\S]*line 17"):
        load_data(f"voxceleb1:{root}")
    listing.write_text(good + "1 id10001/gone/00001.wav\n")
    with pytest.raises(DataError, match=r"id10001/gone/00001.wav: no such audio file"):
        load_data(f"voxceleb1:{root}")
    listing.write_text(good)
    trials.write_text("1 id10270/video1/00001.wav\n")
    with pytest.raises(DataError, match=r"line 1: expected '0|1 ID/VIDEO/FILE.wav"):
        load_data(f"voxceleb1:{root}")
