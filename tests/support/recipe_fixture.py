"""A small recipe, with changes, and where its steps stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import soundfile

from speechft.core.settings import parse_settings
from speechft.pipeline.recipe.recipe_jobs import Plan
from speechft.pipeline.recipe.stage import RunSettings


def recipe(start: Path | str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "encoder": str(start),
        "data": "synthetic:tiny",
        "finetune": {
            "task": "sid",
            "steps": 6,
            "threads": 1,
            "seconds": 8,
            "head_size": "mini",
            "evaluate_every": 2,
            "save_every": 2,
        },
        "evaluate": {"tasks": ["sid"], "steps": 3, "sweep": [0.5], "workers": 1},
        **changes,
    }


def settings(start: Path | str, **changes: Any) -> RunSettings:
    return parse_settings(RunSettings, recipe(start, **changes), "test")


def states(plan: Plan) -> list[str]:
    return [plan.graph.state(step) for step in plan.steps]


def write_table(table: Path, label: str) -> Path:
    """One utterance beside a table of it."""
    soundfile.write(table.with_name("a.wav"), [0.1, -0.1] * 4000, 16000)
    rows = [f"a.wav,{label},{split}" for split in ("train", "dev", "test")]
    table.write_text("\n".join(["audio,label,split", *rows]))
    return table
