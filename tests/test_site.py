"""The documentation site builds without a warning, and its search answers the twenty questions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def test_the_site_builds_and_answers(tmp_path: Path, monkeypatch) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from search_site import first_pages

    questions = yaml.safe_load((ROOT / "docs" / "questions.yaml").read_text(encoding="utf-8"))
    assert len(questions) >= 20
    answers = first_pages(tmp_path, [question["ask"] for question in questions])
    wrong = {
        question["ask"]: pages
        for question, pages in zip(questions, answers, strict=True)
        if pages[:1] != [question["page"]]
    }
    assert not wrong
