"""Keys of `run` left out the language model, lexicon, statistics, gram data, teacher, front end.

Each could be replaced, and what was made with the old one still counted as done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recipe_fixture import settings, write_table

from speechft.pipeline.recipe.stage import plan_run


def made(tmp_path: Path, verb: str, **changes: Any) -> str:
    """Give the key of the only step of a verb."""
    plan = plan_run(settings("tiny-hubert", **changes), tmp_path / "out")
    (key,) = [step.key for step in plan.steps if step.verb == verb]
    return key


@pytest.mark.parametrize("file", ["lm.bin", "lexicon.txt"])
def test_a_replaced_language_model_or_lexicon_is_noticed(tmp_path: Path, file: str) -> None:
    for name in ("lm.bin", "lexicon.txt"):
        (tmp_path / name).write_text("one")
    files = {"asr_lm": str(tmp_path / "lm.bin"), "asr_lexicon": str(tmp_path / "lexicon.txt")}
    evaluate = {"tasks": ["asr"], "workers": 1, **files}
    before = made(tmp_path, "evaluate", evaluate=evaluate)
    assert made(tmp_path, "evaluate", evaluate=evaluate) == before
    (tmp_path / file).write_text("two")
    assert made(tmp_path, "evaluate", evaluate=evaluate) != before


def test_replaced_statistics_and_gram_data_are_noticed(tmp_path: Path) -> None:
    statistics = tmp_path / "a.safetensors"
    statistics.write_text("one")
    merge = {"method": "fisher", "statistics": [str(statistics)]}
    before = made(tmp_path, "merge", merge=merge)
    statistics.write_text("two")
    assert made(tmp_path, "merge", merge=merge) != before
    table = write_table(tmp_path / "table.csv", "a")
    merge = {"method": "regmean", "gram_data": [str(table)]}
    before = made(tmp_path, "merge", merge=merge)
    write_table(table, "b")
    assert made(tmp_path, "merge", merge=merge) != before


@pytest.mark.parametrize("part", ["teacher", "front_end"])
def test_a_replaced_teacher_or_front_end_is_noticed(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "run" / "encoder"
    folder.mkdir(parents=True)
    rounds: dict[str, Any] = {"steps": 3, "layer": 1}
    start = "tiny-hubert" if part == "teacher" else "config.yaml"
    pretrain: dict[str, Any] = {"init": start, "iterations": [rounds]}
    (rounds if part == "teacher" else pretrain)[part] = str(tmp_path / "run")
    keys = []
    for text in ("one", "two"):
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_text(f'{{"text": "{text}"}}')
        keys.append(made(tmp_path, "pretrain", encoder=None, pretrain=pretrain))
    assert keys[0] != keys[1]
