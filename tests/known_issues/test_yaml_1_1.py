"""YAML was read by version 1.1.

`alpha: 0:1:0.05`, as the documentation writes it, was read in base 60 as 60.05, and the merge went
60 times beyond θ' without a word; `precision: no` and `--set precision=no` were refused as False;
names such as `no`, `on`, `01`, `1e3` and dates lost how they were written.
"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from speechft.core.errors import SettingsError
from speechft.core.settings import Settings, apply_overrides, parse_settings
from speechft.core.yaml12 import dump_yaml, load_yaml, read_yaml
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.probing.settings import EncoderSpec, EvaluateSettings
from speechft.training.finetune.settings import FinetuneSettings

NAMES = ["no", "yes", "on", "off", "n", "01", "1e3", "1_000", "0o7", "2001-01-01", "1:30", "True"]


def read(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return read_yaml(path)


def test_a_sweep_is_text(tmp_path):
    values = read(tmp_path, "base: a\ntuned: [b]\nout: c\nalpha: 0:1:0.05\n")
    assert parse_settings(MergeSettings, values, "recipe").alpha_texts() == ["0:1:0.05"]
    assert apply_overrides({}, ["alpha=0:1:0.05"]) == {"alpha": "0:1:0.05"}


@pytest.mark.parametrize("written", ["no", "bf16"])
def test_precision_may_be_no(tmp_path, written):
    given = "encoder: a\ntask: sid\ndata: b\nout: c\n"
    values = read(tmp_path, f"{given}precision: {written}\n")
    assert parse_settings(FinetuneSettings, values, "recipe").precision == written
    values = apply_overrides(read(tmp_path, given), [f"precision={written}"])
    assert parse_settings(FinetuneSettings, values, "recipe").precision == written


class Labelled(Settings):
    name: str
    several: tuple[str, ...] = ()
    named: dict[str, str] = Field(default_factory=dict)
    number: float | None = None
    count: int = 0
    anything: Any = None


@pytest.mark.parametrize("name", [n for n in NAMES if n != "True"])
def test_text_stays_as_it_was_written(tmp_path, name):
    text = f"name: {name}\nseveral: [{name}, 'x']\nnamed: {{{name}: {name}}}\n"
    found = parse_settings(Labelled, read(tmp_path, text), "recipe")
    assert (found.name, found.several, found.named) == (name, (name, "x"), {name: name})
    values = apply_overrides(read(tmp_path, text), [f"several=[{name}]", f"name={name}"])
    assert parse_settings(Labelled, values, "recipe") == found.model_copy(
        update={"several": (name,)}
    )


def test_numbers_and_truth_are_read_where_they_are_wanted(tmp_path):
    text = "name: true\nnumber: 1e3\ncount: 0x1F\nanything: {a: 1e-1, b: TRUE, c: ~, d: -.5, e: 07}"
    found = parse_settings(Labelled, read(tmp_path, text), "recipe")
    assert (found.name, found.number, found.count) == ("true", 1000.0, 31)
    assert found.anything == {"a": 0.1, "b": True, "c": None, "d": -0.5, "e": "07"}


def test_a_study_passes_text_on_as_it_was_written(tmp_path):
    class Study(Settings):
        stage: dict[str, Any]

    study = parse_settings(Study, read(tmp_path, "stage: {name: 1.50, number: 1.50}"), "study")
    found = parse_settings(Labelled, study.stage, "stage")
    assert (found.name, found.number) == ("1.50", 1.5)


def test_what_is_written_is_read_as_it_was():
    values = {
        "a": [*NAMES, "", "~", "null", "1.5", "5", ".inf", "<<"],
        "b": [1, 0.5, 1e-7, True, None],
    }
    assert load_yaml(dump_yaml(values)) == values
    assert load_yaml(dump_yaml(load_yaml("[1e3, 0x10]"))) == [1000.0, 16]


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "too large"),
        ("a: &a [*a]", "inside of what it stands for"),
        ("[" * 1000, "nested too deep"),
        ("a: " + "9" * 5000, "not YAML"),
        ("a: !!python/name:os.system x", "not YAML"),
    ],
)
def test_bombs_are_one_clear_error(tmp_path, text, words):
    with pytest.raises(SettingsError, match=words):
        read(tmp_path, text)


@pytest.mark.parametrize("alpha", [60.05, "-3", "0.1..2.5", "encoder.*=9", "0:3:0.5"])
def test_an_alpha_far_away_is_refused(tmp_path, alpha):
    given = {
        "base": "tiny-hubert",
        "tuned": ("tiny-hubert",),
        "out": tmp_path / "m",
        "alpha": alpha,
    }
    with pytest.raises(SettingsError, match="allow_extrapolation=true"):
        merge(MergeSettings(**given))
    assert not (tmp_path / "m").exists()
    merge(MergeSettings(**given, allow_extrapolation=True))
    assert (tmp_path / "m").is_dir()


def test_an_alpha_far_away_is_refused_in_an_evaluation():
    given = {"data": "synthetic", "out": "x", "tasks": "sid"}
    spec = {"base": "a", "tuned": "b", "alpha": 2.5}
    with pytest.raises(SettingsError, match="allow_extrapolation=true"):
        EvaluateSettings(encoders=(spec,), **given)
    assert EncoderSpec(**spec, allow_extrapolation=True).alpha == 2.5
