"""A tiny study, and how to write it with changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

BASE: dict[str, Any] = {
    "name": "one",
    "title": "A tiny study",
    "seeds": [0, 1],
    "encoders": {"theta0": "tiny-hubert"},
    "finetune": {"data": "synthetic:tiny", "steps": 3, "seconds": 8, "head_size": "mini"},
    "merge": {"dtype": "float32"},
    "evaluate": {"data": "synthetic:tiny", "tasks": ["sid"], "steps": 3, "predictions": False},
    "sets": {"alphas": [{"alpha": 0.25}, {"alpha": 0.75}]},
    "stages": [
        {"name": "sid-stable", "finetune": {"task": "sid"}},
        {"for": "alphas", "name": "at-{alpha}", "of": "sid-stable", "merge": {"alpha": "{alpha}"}},
    ],
    "rows": [
        {"name": "theta0", "title": "θ0", "encoder": "theta0"},
        {"name": "tuned", "title": "θ'", "encoder": "sid-stable"},
        {"name": "chosen", "title": "θ̂", "choose": ["at-0.25", "at-0.75"], "tuned": "tuned"},
    ],
    "findings": [{"says": "It is so.", "pairs": [["chosen", "theta0"]]}],
}


def written(folder: Path, **changes: Any) -> Path:
    values = {**BASE, **changes}
    path = folder / f"{values['name']}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path
