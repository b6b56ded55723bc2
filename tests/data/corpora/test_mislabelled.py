"""Trees of known corpora whose labels are wrong: found before anything is computed."""

from __future__ import annotations

import re

import pytest

from speechft.core.errors import DataError
from speechft.data.check import check_data

INTENT = r",activate,(lights,kitchen)\n"
# corpus, file, (text, what takes its place), words of the message
ERRORS = {
    "an id twice": [
        "librispeech", "84-198.trans.txt", ("84-198-0001", "84-198-0000"), "more than once"
    ],
    "other documents": [
        "quesst2014", "quesst14_dev.rttm", (r"(?m)^LEXEME \S+", "LEXEME x"), "no query of scoring/"
    ],
    "a label of two digits": [
        "voxceleb1", "voxceleb1_test_v2.txt", (r"^\d", "01"), "expected '0"
    ],
    "an empty slot": [
        "fluent_speech_commands", "train_data.csv", (INTENT, r",,\1\n"), "no action"
    ],
}  # fmt: skip
WARNINGS = {
    "a new speaker": [
        "voxceleb1", "iden_split.txt", (r"1 id10001\S+\n", ""), "not in train: id10001"
    ],
    "speech behind the end": [
        "libri2mix", "dev/segments", (r"(\S+ \S+ \S+) \S+", r"\1 99.0"), "behind the end"
    ],
    "one speaker": [
        "libri2mix", "dev/utt2spk", (r"(?m)(\S+) \S+$", r"\1 one"), "are not of two speakers"
    ],
    "a new class": [
        "fluent_speech_commands", "test_data.csv", (INTENT, r",dance,\1\n"),
        "test: intent action not in train: dance",
    ],
    "no labels": [
        "iemocap", "Session1/dialog/EmoEvaluation/*.txt", (r"(?s).+", "-"), "holds no label"
    ],
}  # fmt: skip


def spoilt(corpus_tree, corpus, name, change):
    root = corpus_tree(corpus)
    path = sorted(root.rglob(name))[0]
    before = path.read_text()
    path.write_text(re.sub(*change, before, count=0 if "?m" in change[0] else 1))
    assert path.read_text() != before
    return check_data(f"{corpus}:{root}")


@pytest.mark.parametrize("case", sorted(ERRORS))
def test_wrong_labels_are_errors(corpus_tree, case):
    *given, words = ERRORS[case]
    assert any(words in error for error in spoilt(corpus_tree, *given).errors)


@pytest.mark.parametrize("case", sorted(WARNINGS))
def test_odd_labels_are_warnings(corpus_tree, case):
    *given, words = WARNINGS[case]
    report = spoilt(corpus_tree, *given)
    assert report.errors == []
    assert any(words in warning for warning in report.warnings)


def test_folders_of_speech_commands(corpus_tree):
    root = corpus_tree("speech_commands")
    (root / "speech_commands_v0.01" / "yes").rename(root / "away")
    assert (
        "speech_commands_v0.01 has no folder 'yes'"
        in check_data(f"speech_commands:{root}").warnings
    )
    tests = root / "speech_commands_test_set_v0.01"
    (tests / "yes").rename(tests / "ja")
    report = check_data(f"speech_commands:{root}")
    assert "speech_commands_test_set_v0.01 has no folder 'yes'" in report.warnings
    assert any("test_set_v0.01/ja: the folder's name is none" in error for error in report.errors)


def test_what_is_missing_comes_with_where_to_get_it(corpus_tree):
    root = corpus_tree("voxceleb1")
    warnings = check_data(f"voxceleb1:{root}").warnings
    assert any(w.startswith("for the whole corpus unpack") and "voxceleb" in w for w in warnings)
    for name in ("iden_split.txt", "voxceleb1_test_v2.txt"):
        (root / name).unlink()
    with pytest.raises(DataError, match="no list of splits"):
        from speechft.data.load import load_data

        load_data(f"voxceleb1:{root}")
