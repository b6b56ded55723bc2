"""Several tasks, early encoders and rehearsal in a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile

from speechft.core.errors import DataError, SettingsError
from speechft.core.settings import parse_settings
from speechft.pipeline.recipe.check_inputs import check_inputs
from speechft.pipeline.recipe.recipe_jobs import Plan
from speechft.pipeline.recipe.stage import RunSettings, plan_run


def plan(out: Path, *finetune: dict[str, Any]) -> Plan:
    values = {
        "name": "joint",
        "encoder": "tiny-hubert",
        "data": "synthetic:tiny",
        "finetune": list(finetune),
        "evaluate": {"tasks": ["pr", "sid"]},
    }
    return plan_run(parse_settings(RunSettings, values, "test"), out)


def test_several_tasks_are_one_step_with_one_name(tmp_path):
    found = plan(tmp_path, {"task": "pr,sid"}, {"task": "pr"}, {"task": "pr,sid", "name": "both"})
    names = [step.name for step in found.steps if step.verb == "finetune"]
    assert names == ["seed-0/finetune-pr-sid", "seed-0/finetune-pr", "seed-0/finetune-both"]
    roles = found.roles
    assert roles["merged-pr-sid"]["tuned_on"] == "pr,sid"
    assert roles["merged-pr-sid"]["name"] == ""
    assert roles["merged-both"]["name"] == "both"


def test_an_unknown_task_among_several_is_named(tmp_path):
    with pytest.raises(SettingsError, match="unknown task 'sdi'"):
        plan(tmp_path, {"task": "pr,sdi"})


def test_data_of_later_steps_is_looked_at_before_the_first(tmp_path):
    lost = {"task": "pr", "rehearsal_share": 0.2, "rehearsal_data": str(tmp_path / "no.csv")}
    with pytest.raises(DataError, match="no such data"):
        check_inputs(plan(tmp_path, {"task": "sid"}, lost))
    check_inputs(plan(tmp_path, {"task": "sid"}, {"task": "pr,sid"}))


def test_other_speech_to_rehearse_is_another_step(tmp_path):
    table = tmp_path / "speech.csv"
    keys = []
    for number, name in enumerate(("a", "b"), start=1):
        soundfile.write(tmp_path / f"{name}.wav", [0.1 * number, -0.1] * 4000, 16000)
        table.write_text(f"audio\n{name}.wav\n")
        rehearsed = {"task": "pr", "rehearsal_share": 0.2, "rehearsal_data": str(table)}
        keys.append(plan(tmp_path / "out", rehearsed).steps[0].key)
    assert keys[0] != keys[1]


def test_new_settings_at_their_default_leave_a_step_as_it_was(tmp_path):
    bare = plan(tmp_path, {"task": "pr"}).steps[0].key
    same = plan(tmp_path, {"task": "pr", "rehearsal_share": 0.0, "keep_at": []}).steps[0].key
    other = plan(tmp_path, {"task": "pr", "keep_at": [0.2]}).steps[0].key
    assert bare == same
    assert bare != other
