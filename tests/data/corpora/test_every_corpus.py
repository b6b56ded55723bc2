"""What holds for every known corpus, laid out in its official tree."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from corpus_trees import MAKERS

from speechft.core.errors import DataError
from speechft.data.check import check_data
from speechft.data.corpora import corpora
from speechft.data.load import find_data, load_data
from speechft.data.prepare import prepare_data

# Where one of several things in a tree must be named.
VARIANT = {"common_voice": "@cy"}
DOCS = Path(__file__).parents[3] / "docs" / "data.md"


def spec(name: str, root: object) -> str:
    return f"{name}:{root}{VARIANT.get(name, '')}"


def audio_files(cuts):
    return sorted({cut.recording.sources[0].source for part in cuts.values() for cut in part})


def test_every_corpus_has_a_maker_and_a_line_in_the_docs():
    assert sorted(corpora()) == sorted(MAKERS)
    (section,) = re.findall(r"^## Known corpora\n(.*?)^## ", DOCS.read_text(), re.M | re.S)
    named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(named) == sorted(corpora())


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_prepares(name, corpus_tree, tmp_path):
    root = corpus_tree(name)
    report = check_data(spec(name, root))
    assert report.errors == []
    counts = find_data(spec(name, root)).expected
    for split, number in counts.items():
        assert any(f"{split}: " in line and f"{number}" in line for line in report.warnings)
    prepared = prepare_data(spec(name, root), tmp_path / "out")
    assert prepared.warnings == report.warnings
    before, after = load_data(spec(name, root)), load_data(str(tmp_path / "out"))
    assert {n: [c.to_dict() for c in cuts] for n, cuts in before.items()} == {
        n: [c.to_dict() for c in cuts] for n, cuts in after.items()
    }
    # What was prepared needs no root any more, and is as good as the corpus itself.
    assert check_data(str(tmp_path / "out")).errors == []


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_root_too_high_or_too_low_is_put_right(name, corpus_tree, tmp_path):
    root = corpus_tree(name)
    below = next(path for path in sorted(root.iterdir()) if path.is_dir())
    above = tmp_path / "above"
    above.mkdir()
    root.rename(above / "odd name")
    root = above / "odd name"
    if name != "common_voice":  # a language's folder is a root too
        with pytest.raises(DataError, match=f"did you mean {re.escape(str(root))}?"):
            load_data(spec(name, root / below.name))
    if name != "timit":  # whatever its folder is called, it is found
        with pytest.raises(DataError, match=f"did you mean {re.escape(str(root))}?"):
            load_data(spec(name, above))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder is empty[\s\S]*next: +\S+") as caught:
        load_data(spec(name, tmp_path / "empty"))
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", ["librispeech", "speech_commands", "common_voice", "tedlium3"])
def test_audio_that_is_cut_short_is_named(name, corpus_tree, tmp_path):
    root = corpus_tree(name)
    path = Path(audio_files(load_data(spec(name, root)))[0])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    errors = check_data(spec(name, root)).errors
    assert len({error for error in errors if str(path) in error}) == len(errors) > 0
    with pytest.raises(DataError, match=re.escape(str(path))):
        prepare_data(spec(name, root), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = prepare_data(spec(name, root), tmp_path / "out", skip_bad=True)
    assert sum(line.startswith("left out: ") for line in report.warnings) == len(errors)
    assert check_data(str(tmp_path / "out")).errors == []


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_what_a_mac_leaves_behind_makes_no_difference(name, corpus_tree):
    root = corpus_tree(name)
    before = load_data(spec(name, root))
    # libsndfile itself takes ._X.mp3 for a part of X.mp3.
    for path in [p for p in root.rglob("*") if p.is_file() and p.suffix != ".mp3"]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\xff")
        (path.parent / ".DS_Store").touch()
    loaded = find_data(spec(name, root))
    assert loaded.problems == []
    for split, cuts in before.items():
        assert list(loaded.splits[split].ids) == list(cuts.ids)


TEXTS = {
    "librispeech": "dev-clean/84/198/84-198.trans.txt",
    "quesst2014": "scoring/language_key_dev.lst",
    "voxceleb1": "iden_split.txt",
    "libri2mix": "dev/segments",
    "fluent_speech_commands": "data/test_data.csv",
    "snips": "all.iob.snips.txt",
    "tedlium3": "legacy/dev/stm/AlGore_2009.stm",
    "timit": "TRAIN/DR1/FCJF0/SX37.TXT",
    "aishell3": "train/content.txt",
    "common_voice": "cy/dev.tsv",
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_texts_that_cannot_be_read_are_named(name, corpus_tree):
    root = corpus_tree(name)
    path = root / TEXTS[name]
    good = path.read_bytes()
    path.write_bytes(b"\xff\xfe" + good)
    with pytest.raises(DataError, match=f"cannot be read[\\s\\S]*{re.escape(str(path))}"):
        load_data(spec(name, root))
    # A mark of the byte order, other ends of lines and empty lines at the end make no difference.
    path.write_bytes(good)
    before = load_data(spec(name, root))
    mark = b"" if name == "timit" else b"\xef\xbb\xbf"
    path.write_bytes(mark + good.replace(b"\n", b"\r\n") + b"\r\n")
    after = load_data(spec(name, root))
    assert {n: [c.to_dict() for c in cuts] for n, cuts in before.items()} == {
        n: [c.to_dict() for c in cuts] for n, cuts in after.items()
    }


@pytest.mark.parametrize(
    ("total", "name", "splits"),
    [
        # All of English QUESST 2014 and all of Audio SNIPS as S3PRL's own tests count them.
        (2714, "quesst2014", ("docs", "dev_queries", "eval_queries")),
        (13084 * 8 + 700 * 4 + 700 * 4, "snips", ("train", "dev", "test")),
        (153_516, "voxceleb1", ("train", "dev", "test")),
        (30_043, "fluent_speech_commands", ("train", "dev", "test")),
        # Two copies of six files of noise.
        (51_088 + 6_798 + 3_081 + 12, "speech_commands", ("train", "dev", "test")),
        (5531, "iemocap", [f"fold{k}_test" for k in range(1, 6)]),
        (462 * 8 + 50 * 8 + 24 * 8, "timit", ("train", "dev", "test")),
    ],
)
def test_official_numbers_add_up(total, name, splits):
    counts = corpora()[name].counts
    assert sum(counts[split] for split in splits) == total


def test_official_numbers_are_named_by_split(corpus_tree):
    root = corpus_tree("fluent_speech_commands")
    assert check_data(f"fluent_speech_commands:{root}").warnings[:3] == [
        "train: 3 utterances, the whole corpus has 23132 (23129 missing)",
        "dev: 3 utterances, the whole corpus has 3118 (3115 missing)",
        "test: 3 utterances, the whole corpus has 3793 (3790 missing)",
    ]


def test_prepare_does_its_work_once(corpus_tree, tmp_path, caplog):
    root = corpus_tree("fluent_speech_commands")
    one, out = f"fluent_speech_commands:{root}", tmp_path / "out"
    first = prepare_data(one, out)
    written = (out / "train.jsonl.gz").stat().st_mtime_ns
    with caplog.at_level("INFO"):
        again = prepare_data(one, out)
    assert "nothing to do" in caplog.text
    assert (again.warnings, again.summary) == (first.warnings, first.summary)
    assert (out / "train.jsonl.gz").stat().st_mtime_ns == written
    # A split is gone, the data has changed, or it is asked for: all anew.
    (out / "dev.jsonl.gz").unlink()
    prepare_data(one, out)
    assert (out / "dev.jsonl.gz").is_file()
    table = root / "data" / "train_data.csv"
    table.write_text(table.read_text().replace("Turn on, please", "Turn off"))
    prepare_data(one, out)
    assert next(iter(load_data(str(out))["train"])).supervisions[0].text == "Turn off"
    written = (out / "train.jsonl.gz").stat().st_mtime_ns
    prepare_data(one, out, force=True)
    assert (out / "train.jsonl.gz").stat().st_mtime_ns != written


def test_a_stop_in_the_middle_leaves_nothing_half_done(corpus_tree, tmp_path, monkeypatch):
    root = corpus_tree("fluent_speech_commands")
    one, out = f"fluent_speech_commands:{root}", tmp_path / "out"

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("speechft.data.prepare.write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_data(one, out)
    assert not out.exists()
    prepare_data(one, out)
    kept = load_data(str(out))
    with monkeypatch.context() as patch:
        patch.setattr("speechft.data.prepare.write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_data(one, out, force=True)
    assert list(load_data(str(out))["train"].ids) == list(kept["train"].ids)


def test_a_folder_with_an_at_sign_is_a_folder(corpus_tree, tmp_path):
    root = corpus_tree("fluent_speech_commands")
    shutil.move(root, tmp_path / "me@home")
    assert len(load_data(f"fluent_speech_commands:{tmp_path}/me@home")["train"]) == 3
