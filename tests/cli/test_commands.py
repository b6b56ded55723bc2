"""The commands of this floor against mistakes that people make; the stages have their own tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from evaluate_fixture import write_tones
from study_fixture import BASE as STUDY

from speechft.cli.app import main

RECIPE = {
    "name": "small",
    "encoder": "tiny-hubert",
    "data": "synthetic:tiny",
    "finetune": {"task": "sid", "steps": 6},
    "evaluate": {"tasks": ["pr", "sid"], "sweep": [0.1, 0.5]},
}


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


def message(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return captured.err


def test_dry_run_shows_the_plan_and_does_nothing(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call("run", str(recipe), "--out", str(out), "--dry-run") == 0
    text = capsys.readouterr().out
    for expected in ("seed-0/finetune-sid", "to do", "6 updates, stable, SID", "5 encoders"):
        assert expected in text
    assert max(map(len, text.splitlines())) <= 80 + len(str(out))
    assert not out.exists()


def test_dry_run_looks_for_labels_in_data_that_lies_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_tones(tmp_path / "data")
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "data": str(table)}))
    command = ("run", str(path), "--dry-run", "--out", str(tmp_path / "o"))
    assert call(*command) == 0
    assert "all there" in capsys.readouterr().out.replace("\n", " ")
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    table.write_text("".join(json.dumps({**row, "speaker": None}) + "\n" for row in rows))
    assert call(*command) == 3
    assert "speaker" in message(capsys)
    table.write_text("no row\n")
    assert call(*command) == 3
    assert table.name in message(capsys)
    table.unlink()
    assert call(*command) == 3
    assert "no such data" in message(capsys)
    assert not (tmp_path / "o").exists()


def test_set_changes_the_recipe(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    override = ("--set", "finetune.steps=77", "--set", "seeds=[0, 1]")
    assert call("run", str(recipe), "--dry-run", "--out", str(tmp_path / "o"), *override) == 0
    text = capsys.readouterr().out
    assert "77 updates" in text
    assert "seed-1/evaluate" in text


def test_all_misspelt_keys_are_reported_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {**RECIPE, "seds": [1], "finetune": {"task": "sid", "step": 6}}
    wrong["evaluate"] = {"taks": ["pr"], "swep": [0.1]}
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(wrong))
    assert call("run", str(path)) == 2
    text = message(capsys)
    assert "4 settings are wrong" in text
    for pair in ("'seeds'", "'steps'", "'tasks'", "'sweep'"):
        assert f"did you mean {pair}" in text


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("finetune.task=sit", 2, "unknown task 'sit'"),
        ("evaluate.tasks=[pr, sit]", 2, "unknown task 'sit'"),
        ("merge.method=linaer", 2, "did you mean 'linear'"),
        ("finetune.learning_rate=-1", 2, "greater than 0"),
        ("encoder=null", 2, "give either encoder or pretrain"),
        ("seeds=[1, 1]", 2, "twice"),
        ("evaluate.sweep_tasks=[er]", 2, "sweep_tasks names er"),
    ],
)
def test_wrong_recipes_stop_before_any_work(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
    code: int,
    words: str,
) -> None:
    out = tmp_path / "out"
    assert call("run", str(recipe), "--out", str(out), "--set", change) == code
    assert words in message(capsys)
    assert not out.exists()


def test_unknown_encoder_exits_with_4(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    given = ("run", str(recipe), "--out", str(tmp_path / "out"), "--set")
    assert call(*given, "encoder=no/such/encoder") == 4
    assert "no/such/encoder" in message(capsys)


@pytest.mark.parametrize("name", ["absent.yaml", "demmo"])
def test_missing_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", name) == 2
    assert name in message(capsys)


def test_report_of_nothing_exits_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", str(tmp_path), "--out", str(tmp_path / "out")) == 3
    assert "no results in this folder" in message(capsys)


def test_unknown_task_of_finetune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--encoder", "tiny-hubert", "--task", "sit", "--data", "synthetic:tiny"]
    given += ["--out", str(tmp_path / "out")]
    assert call("finetune", *given) == 2
    assert "unknown task 'sit'" in message(capsys)


def test_unknown_setting_of_finetune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--encoder", "x", "--task", "sid", "--data", "y", "--out", str(tmp_path / "out")]
    assert call("finetune", *given, "--set", "lerning_rate=1") == 2
    assert "did you mean 'learning_rate'" in message(capsys)


def test_data_check_of_a_table_without_its_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("file,text\na.wav,hello\n")
    assert call("data", "check", str(tmp_path / "bad.csv")) == 3
    assert "audio" in capsys.readouterr().out


def test_data_check_of_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "check", str(tmp_path / "absent.csv")) == 3
    captured = capsys.readouterr()
    assert "absent.csv" in captured.err
    assert "Traceback" not in captured.err


def test_data_check_of_an_empty_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.csv").write_text("audio,text\n")
    assert call("data", "check", str(tmp_path / "empty.csv")) == 3
    assert "error:" in capsys.readouterr().out


def test_store_is_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("evaluate", "tiny-hubert", "--data", "synthetic:tiny", "--out", "scores")
    assert call(*given, "--store", "pooled") == 2
    assert "keep" in message(capsys)


def test_a_dry_run_ends_as_the_run_would_where_something_is_missing(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("run", str(recipe), "--out", str(tmp_path / "o"), "--dry-run", "--set")
    assert call(*given, f"encoder={tmp_path}/gone") == 4
    assert "there is no such encoder" in message(capsys)
    assert call(*given, f"data={tmp_path}/gone.csv") == 3
    (tmp_path / "empty").mkdir()
    for root in ("gone", "empty"):
        assert call(*given, f"data=librispeech:{tmp_path}/{root}") == 3
        assert "openslr" in message(capsys)
    study = tmp_path / "small.yaml"
    study.write_text(yaml.safe_dump({**STUDY, "encoders": {"theta0": f"{tmp_path}/gone"}}))
    assert call("study", str(study), "--out", str(tmp_path / "o"), "--dry-run") == 4


def test_an_unknown_launcher_is_no_mistake_of_set(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", str(recipe), "--launcher", "x") == 2
    assert "--set" not in message(capsys)
