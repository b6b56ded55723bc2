from __future__ import annotations

import pytest

from speechft.core.artifact import dependencies
from speechft.core.errors import SettingsError
from speechft.core.settings import parse_settings
from speechft.probing.settings import (
    SUITES,
    EncoderSpec,
    EvaluateSettings,
    data_name,
    is_official,
    parse_data,
)
from speechft.tasks import TASKS

PAPER4 = ("pr=librispeech:/a", "sid=voxceleb1:/b", "er=iemocap:/c", "sf=snips:/d")


def settings(**values):
    given = {"encoders": ("x",), "data": "synthetic", "out": "out", **values}
    return parse_settings(EvaluateSettings, given, where="test")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("table.csv",), "table.csv"),
        (("pr=a.csv", "b.csv"), {"pr": "a.csv", "default": "b.csv"}),
        (("pr=librispeech:/x=1", "sid=b"), {"pr": "librispeech:/x=1", "sid": "b"}),
        (("/x/run=1/table.csv",), "/x/run=1/table.csv"),
    ],
)
def test_data_as_on_the_command_line(given, expected):
    assert parse_data(given) == expected


def test_steps_per_task_as_on_the_command_line():
    given = {"encoders": ("a",), "data": "synthetic", "out": "x", "tasks": ("pr", "sid")}
    assert EvaluateSettings(**given, steps="pr=5, sid=7").steps == {"pr": 5, "sid": 7}
    assert EvaluateSettings(**given, steps="5").steps == 5


def test_every_task_has_its_data():
    found = settings(tasks="pr,sid", data=("pr=librispeech:/root", "synthetic:tiny"))
    assert (found.data_of("pr"), found.data_of("sid")) == ("librispeech:/root", "synthetic:tiny")
    assert found.data_names() == {"pr": "librispeech", "sid": "synthetic:tiny"}
    assert settings(data={"default": "a.csv"}).data_of("pr") == "a.csv"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": ("pr=a", "pr=b")}, "'pr' is given twice"),
        ({"data": ("a", "b")}, "all other tasks is given twice"),
        ({"tasks": "pr,sid", "data": ("pr=a",)}, "none for the task 'sid'"),
        ({"tasks": "pr", "data": ("pr=a", "ks=b")}, "'ks', which is not in tasks"),
        ({"suite": "paper4", "data": "synthetic"}, "must be librispeech, not 'synthetic:demo'"),
        ({"suite": "paper4", "data": PAPER4, "steps": 3}, "steps is fixed"),
        ({"suite": "paper4", "data": PAPER4, "checks": 3}, "checks is fixed"),
        ({"suite": "paper4", "data": PAPER4, "select": {"sf": "slot_value_cer"}}, r"select\.sf"),
        ({"suite": "paper4", "data": PAPER4, "head_size": "mini"}, "head_size must be 'superb'"),
        ({"suite": "mini", "data": "synthetic", "tasks": "asv"}, "'asv' is not one of"),
        ({"suite": "mini", "data": "synthetic:tiny"}, "must be synthetic:demo"),
        ({"launcher": "pbs"}, "launcher"),
        ({"keep": "all"}, "keep"),
    ],
)
def test_mistakes_are_named(values, words):
    with pytest.raises(SettingsError, match=words):
        settings(**values)


def test_a_suite_fills_in_what_it_fixes():
    found = settings(suite="paper4", data=PAPER4)
    assert (found.tasks, found.head_size, found.label) == (
        SUITES["paper4"].tasks,
        "superb",
        "paper4",
    )
    part = settings(suite="paper4", data="librispeech:/a", tasks="pr", learning_rates=0.1)
    assert (part.tasks, part.label) == (("pr",), "paper4")


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({}, "mini"),
        ({"tasks": "asr"}, "mini"),
        ({"learning_rates": 0.1}, "mini"),
        ({"steps": 3}, "own"),
        ({"tasks": "asr", "select": {"asr": "cer"}}, "own"),
        ({"data": "synthetic:tiny"}, "own"),
        ({"data": "table.csv"}, "own"),
        ({"head_size": "superb"}, "own"),
        ({"suite": "home"}, "home"),
    ],
)
def test_label_says_what_may_be_compared(values, label):
    assert settings(**values).label == label


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("synthetic", "synthetic:demo"),
        ("synthetic:tiny", "synthetic:tiny"),
        ("librispeech:/data/ls", "librispeech"),
        ("common_voice:/data/cv@de", "common_voice@de"),
        ("/data/own/table.csv", "table.csv"),
        ("cuts/", "cuts"),
    ],
)
def test_data_is_named_without_its_place(spec, name):
    assert data_name(spec) == name


def test_suites_hold_known_tasks_and_official_counts():
    for suite in SUITES.values():
        assert set(suite.tasks) <= set(TASKS)
        assert all(suite.corpora(task) for task in suite.tasks)
    assert set(SUITES["superb10"].tasks) == set(TASKS) - {"pc"}  # SUPERB has no such task
    assert is_official("paper4", "pr", 2620)
    assert is_official("paper4", "pr", 6) is False
    assert is_official("own", "pr", 6) is None


def test_what_does_not_change_results_is_left_out_of_them():
    given = settings(store="s", keep="pooled", slurm={"partition": "gpu"}, workers=3)
    plain = dependencies(given, {"x": "id"})
    assert not {"store", "keep", "launcher", "slurm", "workers", "device", "out"} & set(plain)


def test_encoders_are_told_apart_by_their_files_not_by_their_names(tmp_path):
    inside = tmp_path / "run" / "encoder"
    inside.mkdir(parents=True)
    (inside / "config.json").write_text("{}")
    found = set()
    for text in ("one", "two"):
        (inside / "model.safetensors").write_text(text)
        found.add(dependencies(EncoderSpec(path=str(tmp_path / "run")))["path"])
    assert len(found) == 2
    pair = EncoderSpec(base="tiny-hubert", tuned="tiny-wavlm", alpha=0.123456789)
    assert pair.sources == ["tiny-hubert", "tiny-wavlm"]
    assert pair.label == "tiny-wavlm@0.123456789"
