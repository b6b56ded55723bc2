"""Advice to install an extra named this package, which no index has: anybody could take the name.

What is missing is named itself, as pyproject.toml asks for it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_advice_names_what_is_missing() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = {one for extra in project["optional-dependencies"].values() for one in extra}
    pages = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    named: set[str] = set()
    for page in pages:
        named.update(re.findall(r"pip install ['\"]([^'\"]+)['\"]", page.read_text("utf-8")))
    assert len(named) >= 4
    assert named <= asked
