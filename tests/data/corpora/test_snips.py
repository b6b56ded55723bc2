from __future__ import annotations

import pytest

from speechft.core.errors import DataError
from speechft.data.load import find_data, load_data

LINE = (
    "Amy-snips-valid-1 BOS add kent james to disney EOS"
    "\tO O B-artist I-artist O B-playlist AddToPlaylist\n"
)


def test_reads_the_tree(corpus_tree):
    root = corpus_tree("snips")
    text = root / "all.iob.snips.txt"
    lines = [x for x in text.read_text().splitlines(True) if "Amy-snips-valid-1 " not in x]
    text.write_text("".join([*lines, LINE]))
    data = load_data(f"snips:{root}")
    assert {name: len(cuts) for name, cuts in data.items()} == {"train": 4, "dev": 2, "test": 4}
    assert {cut.supervisions[0].speaker for cut in data["train"]} == {"Ivy", "Joey"}
    supervision = data["dev"]["Amy-snips-valid-1"].supervisions[0]
    assert supervision.text == "ADD KENT JAMES TO DISNEY"
    assert supervision.custom["slots"] == [["artist", "KENT JAMES"], ["playlist", "DISNEY"]]
    assert supervision.custom["words_tags"][1] == ["KENT", "artist"]
    assert supervision.custom["intent"] == "AddToPlaylist"


def test_names_what_is_missing(corpus_tree, tmp_path):
    with pytest.raises(DataError, match=r"no all.iob.snips.txt[\s\S]*github.com"):
        load_data(f"snips:{tmp_path}")
    root = corpus_tree("snips")
    text = root / "all.iob.snips.txt"
    good = text.read_text()
    text.write_text(good + "Amy-snips-valid-9 BOS one EOS\tO O\n")
    with pytest.raises(DataError, match=r"line 13: 3 words, 2 tags"):
        load_data(f"snips:{root}")
    text.write_text(good.replace("Ivy-snips-train-0 ", "Ivy-snips-train-7 "))
    loaded = find_data(f"snips:{root}")
    assert loaded.notes == [
        "1 audio files have no line in all.iob.snips.txt: train/Ivy-snips-train-0.wav",
        "1 lines of all.iob.snips.txt have no audio: Ivy-snips-train-7",
    ]
    assert len(loaded.splits["train"]) == 3
    text.write_text(good)
    for path in (root / "valid").glob("*.wav"):
        path.rename(path.with_name(path.name.replace("Amy", "Brian")))
    with pytest.raises(DataError, match="no audio of the speakers of 'valid'"):
        load_data(f"snips:{root}")
