"""Our readers beside lhotse's recipes, where a recipe reads the official tree.

The others do not fit: TED-LIUM's wants a program that converts Sphere files and drops what the
10 hours count, VoxCeleb's wants further lists and knows no identification, Speech Commands' fails
without lists of its own, Common Voice's leaves missing clips out without a word.
"""

from __future__ import annotations

import pytest
from lhotse.recipes.aishell3 import prepare_aishell3
from lhotse.recipes.librispeech import prepare_librispeech
from lhotse.recipes.timit import prepare_timit

from speechft.data.load import load_data


def described(cuts):
    return sorted(
        (cut.id, s.text, s.speaker.lower(), round(cut.duration, 4))
        for cut in cuts
        for s in cut.supervisions
    )


def theirs(manifest, change=str):
    return sorted(
        (change(s.id), s.text, s.speaker.lower(), round(s.duration, 4))
        for s in manifest["supervisions"]
    )


def test_librispeech(corpus_tree):
    root = corpus_tree("librispeech")
    parts = {"train-clean-100": "train", "dev-clean": "dev", "test-clean": "test"}
    found = prepare_librispeech(root, dataset_parts=list(parts))
    ours = load_data(f"librispeech:{root}")
    for part, split in parts.items():
        assert described(ours[split]) == theirs(found[part])
    # The comparison can fail.
    assert described(ours["train"]) != theirs(found["dev-clean"])


@pytest.mark.parametrize(("variant", "phones"), [("", 39), ("@48", 48), ("@61", 60)])
def test_timit(corpus_tree, variant, phones):
    root = corpus_tree("timit")
    (root / "data").mkdir()
    for name in ("TRAIN", "TEST"):
        (root / name).rename(root / "data" / name)
    found = prepare_timit(root, num_phones=phones)
    ours = load_data(f"timit:{root}{variant}")
    for part, split in {"TRAIN": "train", "DEV": "dev", "TEST": "test"}.items():
        wanted = {s.id.lower(): s for s in found[part]["supervisions"]}
        # lhotse keeps the dialect sentences, and glottal stops as phones without a name.
        wanted = {name: s for name, s in wanted.items() if "-sa" not in name}
        assert set(ours[split].ids) == set(wanted)
        for cut in ours[split]:
            theirs = [a for a in wanted[cut.id].alignment["phone"] if a.symbol]
            assert cut.supervisions[0].text == wanted[cut.id].text
            for one, other in zip(cut.supervisions[0].alignment["phone"], theirs, strict=True):
                assert one.symbol == other.symbol
                assert one.start == pytest.approx(other.start, abs=1e-4)
                assert one.duration == pytest.approx(other.duration, abs=1e-4)


def test_aishell3(corpus_tree):
    root = corpus_tree("aishell3")
    found = prepare_aishell3(root)
    ours = load_data(f"aishell3:{root}")
    # lhotse 1.33 gives recordings and supervisions under each other's names.
    swapped = {part: {"supervisions": m["recordings"]} for part, m in found.items()}
    assert described([*ours["train"], *ours["dev"]]) == theirs(swapped["train"])
    assert described(ours["test"]) == theirs(swapped["test"])
