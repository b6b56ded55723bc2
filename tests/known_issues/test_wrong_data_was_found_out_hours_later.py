"""A dry run, and the start of the real one, open all data: names, files, columns, labels.

A study looked for its encoders alone, so that a wrong root, or a table without the column that a
task reads, was found out when its jobs came, hours later. Recipes did not look at what an analysis
or a merge reads.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from study_fixture import BASE, written

from speechft.cli.app import main
from speechft.core.errors import DataError
from speechft.pipeline.recipe.settings import load_recipe
from speechft.pipeline.recipe.stage import run
from speechft.pipeline.study.stage import load_study, study


def table(folder: Path, tone: Any, *columns: str, lost: bool = False) -> str:
    """Write a table with a row for each split; the last row's file may be lost."""
    folder.mkdir(exist_ok=True)
    lines = [",".join((*columns, "split"))]
    for number, split in enumerate(("train", "dev", "test")):
        audio = str(tone(f"{folder.name}-{number}.wav"))
        name = "gone.wav" if lost and split == "test" else audio
        lines.append(",".join((name, *("x" for _ in columns[1:]), split)))
    path = folder / "t.csv"
    path.write_text("\n".join(lines))
    return str(path)


def ended(*command: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(command))
    return int(end.value.code or 0)


@pytest.fixture
def of_evaluation(tmp_path, tone):
    """Give a study's data that cannot be used, and what shall be said of it."""

    def make(kind: str) -> tuple[str, list[str]]:
        return {
            "root": (
                f"iemocap:{tmp_path}/no",
                ["no such folder", "/no, for evaluate"],
            ),
            "file": (f"{tmp_path}/no.csv", ["no such data", "no.csv"]),
            "column": (table(tmp_path / "a", tone, "file"), ["no column 'audio'", "'file'"]),
            "row": (
                table(tmp_path / "b", tone, "audio", "emotion", lost=True),
                ["row 4", "gone.wav"],
            ),
            "label": (table(tmp_path / "c", tone, "audio", "text"), ["'er' needs", "emotion"]),
        }[kind]

    return make


@pytest.mark.parametrize("kind", ["root", "file", "column", "row", "label"])
def test_a_study_ends_before_its_first_job_and_so_does_its_dry_run(
    tmp_path, of_evaluation, kind, capsys
):
    data, said = of_evaluation(kind)
    path = written(tmp_path, evaluate={**BASE["evaluate"], "data": data, "tasks": ["er"]})
    command = ("study", str(path), "--out", str(tmp_path / "out"))
    for more in ((), ("--dry-run",)):
        assert ended(*command, *more) == 3
        message = " ".join(capsys.readouterr().err.split())
        assert all(text in message for text in said), message
    assert not (tmp_path / "out" / "stages").exists()


def test_all_of_several_are_named_at_once(tmp_path):
    changes = {
        "finetune": {**BASE["finetune"], "data": f"librispeech:{tmp_path}/one"},
        "evaluate": {**BASE["evaluate"], "data": f"voxceleb1:{tmp_path}/two"},
    }
    with pytest.raises(DataError, match="data cannot be read") as refused:
        study([load_study(str(written(tmp_path, **changes)))], tmp_path / "out")
    for text in (f"librispeech:{tmp_path}/one, for finetune", f"voxceleb1:{tmp_path}/two, for"):
        assert text in str(refused.value)


def test_what_cannot_be_made_is_said_by_a_dry_run_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SPEECHFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert ended("study", str(written(tmp_path)), "--out", str(tmp_path / "o"), "--dry-run") == 3
    assert "espeakng-loader" in capsys.readouterr().err


def test_a_recipe_looks_at_what_its_analysis_reads(tmp_path, tone, capsys):
    recipe = {
        "name": "small",
        "encoder": "tiny-hubert",
        "data": "synthetic:tiny",
        "seeds": [0],
        "finetune": {"task": "sid", "steps": 2, "seconds": 4},
        "merge": {"alpha": 0.5},
        "evaluate": {"tasks": ["sid"], "steps": 2},
        "analyze": {"data": table(tmp_path / "a", tone, "file")},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert ended("run", str(path), "--out", str(tmp_path / "out"), "--dry-run") == 3
    assert "no column 'audio'" in capsys.readouterr().err
    with pytest.raises(DataError, match="no column 'audio'") as refused:
        run(load_recipe(str(path)), tmp_path / "out")
    assert "for analyze seed-0/analyze" in str(refused.value.where)
    assert not list((tmp_path / "out").glob("seed-0/finetune*"))
