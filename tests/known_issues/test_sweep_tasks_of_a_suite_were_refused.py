"""`sweep_tasks` were held against the default tasks, though a suite named others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recipe_fixture import settings

from speechft.core.errors import SettingsError
from speechft.pipeline.recipe.stage import plan_run


def test_tasks_of_the_suite_may_be_swept(tmp_path: Path) -> None:
    evaluate = {"suite": "mini", "sweep": [0.5], "sweep_tasks": ["pr"], "workers": 1}
    plan = plan_run(settings("tiny-hubert", evaluate=evaluate, data="synthetic:demo"), tmp_path)
    (step,) = [step for step in plan.steps if step.verb == "evaluate"]
    specs: Any = step.settings.encoders
    assert [spec.tasks for spec in specs if spec.alpha] == [("pr",)]
    with pytest.raises(SettingsError, match="sweep_tasks names qbe"):
        wrong = {**evaluate, "sweep_tasks": ["qbe"]}
        plan_run(settings("tiny-hubert", evaluate=wrong, data="synthetic:demo"), tmp_path)
