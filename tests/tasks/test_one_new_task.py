"""A task is one file: fine-tuning, evaluation and everything between know it from there."""

from __future__ import annotations

import json

from evaluate_fixture import CONFIG, write_tones
from one_new_file import package_with, run_commands

from speechft.core.files import read_jsonl
from speechft.encoders import build_encoder

GENDER = '''"""Gender: whether a voice is low or high."""

from __future__ import annotations

from typing import ClassVar

from lhotse.cut import Cut

from speechft.tasks.base import TASKS
from speechft.tasks.utterance_classes import ClassTask, Labels
from speechft.tasks.base import custom, missing


@TASKS.register("gender")
class Gender(ClassTask):
    """The gender in `custom["gender"]`, or a generic `label` where there is none."""

    id: ClassVar[str] = "gender"
    title: ClassVar[str] = "gender"

    @classmethod
    def labels(cls, cut: Cut) -> Labels:
        """Give the gender of a cut."""
        gender = custom(cut, "gender", "label")
        if gender is None:
            raise missing(cut, "a gender", cls.id, ["gender", "label"])
        return {"gender": str(gender)}
'''


def test_a_task_is_added_by_one_file(tmp_path):
    table = write_tones(tmp_path / "data")
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for row in rows:
        row["label"] = {"low": "male", "high": "female"}[row.pop("speaker")]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_encoder(dict(CONFIG), seed=0).save(tmp_path / "encoder")
    package = package_with(tmp_path / "package", "tasks/gender.py", GENDER)
    tuned = tmp_path / "run" / "encoder"
    common = ("--data", table, "--steps", 4, "--out")
    run_commands(
        package,
        (
            "finetune",
            "--encoder",
            tmp_path / "encoder",
            "--task",
            "gender",
            *common,
            tmp_path / "run",
        ),
        ("evaluate", tuned, "--tasks", "gender", *common, tmp_path / "scores"),
    )
    assert tuned.is_dir()
    (record,) = read_jsonl(tmp_path / "scores" / "results.jsonl")
    assert (record["task"], record["metric"], record["items"]) == ("gender", "acc", 6)
