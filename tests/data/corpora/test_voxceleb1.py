from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.sources import load_data


def lay_out(root, lay):
    """Lay synthetic speech in VoxCeleb1's tree, with the list of splits."""
    lines = []
    for part, speakers in (("dev", ("id10001", "id10002")), ("test", ("id10270",))):
        for speaker in speakers:
            for split in (1, 2, 3):
                name = f"{speaker}/video{split}/00001.wav"
                lay(root / "VoxCeleb1" / part / "wav" / name)
                lines.append(f"{split} {name}\n")
    (root / "VoxCeleb1" / "iden_split.txt").write_text("".join(lines))
    return root


def test_reads_the_tree(tmp_path, lay):
    data = load_data(f"voxceleb1:{lay_out(tmp_path, lay)}")
    for number, name in enumerate(("train", "dev", "test"), start=1):
        cuts = list(data[name])
        speakers = [cut.supervisions[0].speaker for cut in cuts]
        assert speakers == ["id10001", "id10002", "id10270"]
        assert (
            cuts[2]
            .recording.sources[0]
            .source.endswith(f"test/wav/id10270/video{number}/00001.wav")
        )
    assert data["dev"]["id10002-video2-00001"].duration > 1


def test_names_what_is_missing(tmp_path, lay):
    with pytest.raises(DataError, match=r"no dev/wav, no test/wav[\s\S]*iden_split"):
        load_data(f"voxceleb1:{tmp_path}")
    root = lay_out(tmp_path, lay) / "VoxCeleb1"
    listing = root / "iden_split.txt"
    good = listing.read_text()
    listing.write_text(good + "4 id10001/x/1.wav\nnonsense\n")
    with pytest.raises(DataError, match=r"2 problems[\s\S]*line 10[\s\S]*line 11"):
        load_data(f"voxceleb1:{root}")
    listing.write_text(good + "1 id10001/gone/00001.wav\n")
    with pytest.raises(DataError, match=r"id10001/gone/00001.wav: no such audio file"):
        load_data(f"voxceleb1:{root}")
    listing.unlink()
    with pytest.raises(DataError, match=r"no list of splits[\s\S]*robots.ox.ac.uk"):
        load_data(f"voxceleb1:{root}")
    (root / "veri_test_class.txt").write_text(good)
    assert len(load_data(f"voxceleb1:{root}")["train"]) == 3
