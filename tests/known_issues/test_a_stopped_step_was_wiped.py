"""A step that was stopped was emptied, without --redo, when a setting of it had changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_fixture import recipe, settings, states

from speechft.core.errors import SettingsError
from speechft.pipeline.recipe.stage import plan_run, run


def test_what_was_begun_is_gone_on_with_and_not_wiped_for_other_settings(tmp_path: Path) -> None:
    plan = plan_run(settings("tiny-hubert"), tmp_path)
    assert states(plan) == ["to do"] * 4
    plan.steps[0].artifact.begin()
    state = plan.steps[0].folder / "checkpoints" / "step-4"
    state.mkdir(parents=True)
    assert states(plan_run(settings("tiny-hubert"), tmp_path))[0] == "resume"
    changed = recipe("tiny-hubert")
    changed["finetune"] = {**changed["finetune"], "steps": 7}
    other = settings("tiny-hubert", finetune=changed["finetune"])
    assert states(plan_run(other, tmp_path))[0] == "redo"
    with pytest.raises(SettingsError, match=r"steps: 6 → 7(.|\n)*--redo"):
        run(other, tmp_path)
    assert state.is_dir()
