"""Tasks on a column that a user names: their names, labels, errors and figures."""

from __future__ import annotations

import json
import math

import pytest
import torch
from evaluate_fixture import CONFIG, write_tones
from lhotse import MonoCut, SupervisionSegment

from speechft.cli.app import main
from speechft.core.errors import DataError, SettingsError
from speechft.core.files import read_jsonl
from speechft.encoders import build_encoder
from speechft.metrics.measures import concordance, mean_squared_error
from speechft.probing.settings import parse_data
from speechft.tasks import TASKS, file_stem, task_from_dict
from speechft.training.finetune.settings import FinetuneSettings

STRANGE = "[/b] žluť"


def cut(name, text=None, **columns):
    segment = SupervisionSegment(name, name, 0.0, 1.0, text=text, custom={"columns": columns})
    return MonoCut(name, 0.0, 1.0, 0, supervisions=[segment])


def splits(*cuts):
    return {"train": list(cuts), "dev": [cuts[0]], "test": [cuts[0]]}


def test_a_column_belongs_to_the_name():
    kind = TASKS["classify:dialect"]
    assert kind is TASKS["classify:dialect"]
    assert kind.id == "classify:dialect"
    assert "classify:dialect" in TASKS
    for name in ("classify", "classify:", "regress", "sid:x", "clasify:x"):
        assert name not in TASKS
        with pytest.raises(SettingsError):
            TASKS[name]
    with pytest.raises(SettingsError, match="did you mean 'classify:COLUMN'"):
        TASKS["clasify"]


def test_classes_are_as_written_and_saved_with_the_head():
    cuts = [cut("a", x="1"), cut("b", x=STRANGE), cut("c", x="1.0")]
    task = TASKS["classify:x"].from_cuts(cuts)
    assert task.groups == {"class": ["1", "1.0", STRANGE]}
    again = task_from_dict(json.loads(json.dumps(task.to_dict())))
    assert again.id == "classify:x"
    assert again.decode(torch.eye(3), None) == ["1", "1.0", STRANGE]
    with pytest.raises(DataError, match="at least two classes"):
        TASKS["classify:x"].from_cuts(cuts[:1])


def test_regression_brings_numbers_back():
    cuts = [cut("a", mos="1.5"), cut("b", mos="4.5"), cut("c", mos="3")]
    task = TASKS["regress:mos"].from_cuts(cuts)
    targets = [task.target(one) for one in cuts]
    assert torch.cat(targets).mean().abs() < 1e-6
    found = task.decode(torch.stack(targets), None)
    assert found == pytest.approx([1.5, 4.5, 3.0])
    assert task.loss(torch.stack(targets), None, targets) == 0
    assert task.score(found, [task.reference(one) for one in cuts])["ccc"] == pytest.approx(100)
    assert task_from_dict(task.to_dict()).scale == task.scale
    with pytest.raises(DataError, match="at least two numbers"):
        TASKS["regress:mos"].from_cuts(cuts[:1])


def test_concordance_by_hand():
    """Lin's formula: 2 cov / (var + var + (difference of the means)²), with shares of N."""
    assert concordance([1, 2, 3], [2, 3, 4]) == pytest.approx(100 * 2 * (2 / 3) / (4 / 3 + 1))
    assert concordance([1, 2, 3], [3, 2, 1]) == pytest.approx(-100)
    assert concordance([2, 2], [2, 2]) == 0
    assert mean_squared_error([1, 2], [2, 4]) == pytest.approx(2.5)
    with pytest.raises(DataError):
        concordance([], [])


def test_characters_or_tokens():
    one = cut("a", "Ja,  ne!", phones="p o k", listed=["tʃ", "a"])
    characters = TASKS["ctc:text"].from_cuts([one])
    assert characters.reference(one) == "Ja, ne!"
    assert characters.score(["Ja, ne"], ["Ja, ne!"]) == pytest.approx({"cer": 100 / 7, "wer": 50})
    tokens = TASKS["ctc:phones:tokens"]
    assert tokens.id == "ctc:phones:tokens"
    assert tokens.from_cuts([one]).reference(one) == ["p", "o", "k"]
    assert TASKS["ctc:listed:tokens"].from_cuts([one]).reference(one) == ["tʃ", "a"]
    assert task_from_dict(tokens.from_cuts([one]).to_dict()).vocabulary[2:] == ["k", "o", "p"]


@pytest.mark.parametrize(
    ("task", "values", "found"),
    [
        ("regress:x", ["1", "nan", "inf", "n/a", "2"], "b: 'nan'; c: 'inf'; d: 'n/a'"),
        ("classify:x", ["a", None, "", "b", "c"], "b: nothing; c: nothing"),
        ("classify:x", ["a", ["b"], "c", "d", "e"], "b: ['b'] is no single value"),
    ],
)
def test_unusable_values_are_one_error(task, values, found):
    cuts = [cut(name, x=value) for name, value in zip("abcde", values, strict=True)]
    with pytest.raises(DataError) as caught:
        TASKS[task].arrange({"train": cuts[:3], "dev": cuts[3:4], "test": cuts[4:]})
    assert caught.value.found == found
    assert "of 5 utterances have no" in caught.value.what


def test_a_missing_column_names_those_that_are_there():
    one = cut("a", "hello", lable="x", mos=3)
    with pytest.raises(DataError) as caught:
        TASKS["classify:label"].arrange(splits(one))
    assert caught.value.found == "lable, mos, text"
    assert "--task classify --label lable)" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("given", "task"),
    [
        ({"task": "classify", "label": "a b"}, "classify:a b"),
        ({"task": "sid,regress", "label": "mos"}, "sid,regress:mos"),
        ({"task": "classify:x,ctc", "label": "y", "tokens": True}, "classify:x,ctc:y:tokens"),
    ],
)
def test_label_and_name_are_one_setting(given, task):
    settings = FinetuneSettings(encoder="tiny-hubert", data="t.csv", out="o", **given)
    assert settings.task == task
    assert (settings.label, settings.tokens) == (None, False)


@pytest.mark.parametrize(
    "given",
    [
        {"task": "sid", "label": "x"},
        {"task": "classify:x", "label": "y"},
        {"task": "classify", "label": "a,b"},
        {"task": "asr", "tokens": True},
    ],
)
def test_a_label_that_nothing_reads_is_refused(given):
    with pytest.raises(ValueError, match=r"label is the column|tokens is read only"):
        FinetuneSettings(encoder="tiny-hubert", data="t.csv", out="o", **given)


def test_a_misspelt_task_with_a_label_is_what_is_named():
    with pytest.raises(ValueError, match=r"unknown task 'clasify'; did you mean 'classify'"):
        FinetuneSettings(encoder="tiny-hubert", data="t.csv", out="o", task="clasify", label="mood")


def test_data_of_a_column_and_paths_with_an_equals_sign():
    assert parse_data(["classify:lang=de/my.csv"]) == {"classify:lang": "de/my.csv"}
    assert parse_data(["lang=de/my.csv"]) == "lang=de/my.csv"


def test_names_of_files_stay_in_their_folder_and_apart():
    assert file_stem("classify:label") == "classify-label"
    assert file_stem("classify:a:b") != file_stem("classify:a-b")
    names = {file_stem(f"classify:{c}") for c in ("../x", "a b", "a/b", "ž", "č", "x.y")}
    assert len(names) == 6
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in names)


@pytest.fixture
def table(tmp_path):
    path = write_tones(tmp_path / "data")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for i, row in enumerate(rows):
        high = row.pop("speaker") == "high"
        row |= {"pitch [/b]": STRANGE if high else "1", "mos": 1 + 3 * high + i % 2 / 10}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_encoder(dict(CONFIG), seed=0).save(tmp_path / "encoder")
    return path


def code_of(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return ended.value.code


def test_from_a_column_to_results(table, tmp_path, capfd):
    encoder, out = tmp_path / "encoder", tmp_path / "run"
    common = ["--data", table, "--head-size", "mini"]
    tasks = "classify:pitch [/b],regress:mos"
    tune = ["finetune", "--encoder", encoder, "--task", "classify,regress:mos", "--steps", 4]
    assert code_of(*tune, "--label", "pitch [/b]", *common, "--out", out) == 0
    stem = file_stem("classify:pitch [/b]")
    assert {p.name for p in out.glob("head*")} == {
        "head-regress-mos.safetensors",
        f"head-{stem}.safetensors",
    }
    probe = ["evaluate", out / "encoder", "--tasks", f"{tasks},ctc:text", *common]
    scores = tmp_path / "scores"
    assert code_of(*probe, "--set", "steps=60", "--out", scores) == 0
    records = read_jsonl(scores / "results.jsonl")
    first = {record["task"]: record for record in reversed(records)}
    assert list(first) == ["ctc:text", "regress:mos", "classify:pitch [/b]"]
    assert first["classify:pitch [/b]"]["metric"] == "acc"
    assert first["classify:pitch [/b]"]["value"] == 100.0
    assert all(math.isfinite(record["value"]) for record in records)
    (classes,) = json.loads((scores / "classes.json").read_text())
    assert classes["classes"] == ["1", STRANGE]
    assert classes["confusion"] == [[3, 0], [0, 3]]
    assert classes["scores"] == {"acc": 100, "uar": 100, "macro_f1": 100}
    assert code_of("report", scores, "--out", tmp_path / "report") == 0
    page = (tmp_path / "report/report.html").read_text()
    assert "CLASSIFY:pitch [/b]" in page
    assert "said to be" in page
    markdown = (tmp_path / "report/report.md").read_text()
    assert "F1 | items |\n| --- | ---: | ---: |" in markdown
    assert "| 1 | 3 | 0 | 100.0 | 100.0 | 100.0 | 3 |\n| [/b] žluť | 0 | 3 |" in markdown
    wrong = ["evaluate", encoder, "--tasks", "classify:pitch", *common, "--out", tmp_path / "none"]
    assert code_of(*wrong) == 3
    said = capfd.readouterr().err
    assert "no column 'pitch'" in said
    assert "--task classify --label 'pitch [/b]'" in said
