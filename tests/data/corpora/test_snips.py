from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.sources import load_data


def lay_out(root, lay):
    """Lay synthetic speech in the tree of Audio SNIPS, with a speaker who belongs elsewhere."""
    lines = []
    speakers = {"train": ("Ivy", "Joey", "Brian"), "valid": ("Amy",), "test": ("Brian", "Emma")}
    for split, names in speakers.items():
        for name in names:
            for index in range(2):
                uid = f"{name}-snips-{split}-{index}"
                lay(root / "SNIPS" / split / f"{uid}.wav")
                lines.append(
                    f"{uid} BOS add kent james to disney EOS"
                    "\tO O B-artist I-artist O B-playlist AddToPlaylist\n"
                )
    (root / "SNIPS" / "all.iob.snips.txt").write_text("".join(lines))
    return root


def test_reads_the_tree(tmp_path, lay):
    data = load_data(f"snips:{lay_out(tmp_path, lay)}")
    assert {name: len(cuts) for name, cuts in data.items()} == {"train": 4, "dev": 2, "test": 4}
    assert {cut.supervisions[0].speaker for cut in data["train"]} == {"Ivy", "Joey"}
    supervision = data["dev"]["Amy-snips-valid-1"].supervisions[0]
    assert supervision.text == "ADD KENT JAMES TO DISNEY"
    assert supervision.custom["slots"] == [["artist", "KENT JAMES"], ["playlist", "DISNEY"]]
    assert supervision.custom["words_tags"][1] == ["KENT", "artist"]
    assert supervision.custom["intent"] == "AddToPlaylist"


def test_names_what_is_missing(tmp_path, lay):
    with pytest.raises(DataError, match=r"no all.iob.snips.txt[\s\S]*github.com"):
        load_data(f"snips:{tmp_path}")
    root = lay_out(tmp_path, lay) / "SNIPS"
    text = root / "all.iob.snips.txt"
    good = text.read_text()
    text.write_text(good + "Amy-snips-valid-9 BOS one EOS\tO O\n")
    with pytest.raises(DataError, match=r"line 13: 3 words, 2 tags"):
        load_data(f"snips:{root}")
    text.write_text(good.replace("Ivy-snips-train-0 ", "Ivy-snips-train-7 "))
    with pytest.raises(DataError, match=r"train/Ivy-snips-train-0.wav: no line"):
        load_data(f"snips:{root}")
    text.write_text(good)
    for path in (root / "valid").glob("*.wav"):
        path.unlink()
    with pytest.raises(DataError, match="no audio of the speakers of 'valid'"):
        load_data(f"snips:{root}")
