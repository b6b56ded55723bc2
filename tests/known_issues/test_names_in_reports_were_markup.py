r"""`[/b]` in an encoder's name ended a report in a traceback, `$\frac` broke its figures.

And a task in provenance became a picture's path outside of the report.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.table import Table

from speechft.analysis.figure import draw
from speechft.analysis.table import markdown
from speechft.cli.app import main
from speechft.cli.console import output
from speechft.core.files import write_jsonl

HOSTILE = "[/b] $\\frac <script>alert(1)</script> | *x* ](http://x) \x1b[31m\ud800 ``` _"


def write(folder: Path, task: str) -> None:
    about = {"tuned_on": task, "method": HOSTILE, "merge_method": "linear"}
    roles = [{"encoder": "0", "role": "pretrained", "alpha": 0, "name": HOSTILE}]
    roles += [
        {"encoder": str(a), "role": "finetuned" if a == 1 else "merged", "alpha": a, **about}
        for a in (0.1, 0.25, 0.5, 0.75, 1)
    ]
    records = [
        {"encoder": one["encoder"], "task": "sid", "metric": "acc", "direction": "higher"}
        | {"seed": seed, "value": 50.0 + seed + place}
        for place, one in enumerate(roles)
        for seed in (0, 1)
    ]
    write_jsonl(folder / "results.jsonl", records)
    (folder / "encoders.json").write_text(json.dumps(roles), encoding="utf-8")
    run = {"name": HOSTILE, "command": HOSTILE, "recipe": {"name": HOSTILE, "a": [HOSTILE]}}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")


@pytest.mark.parametrize("task", ["../../../escaped", "/tmp/escaped", HOSTILE, "_x"])
def test_a_report_shows_names_and_follows_none(
    tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "a" / "b" / "run", tmp_path / "a" / "b" / "out"
    folder.mkdir(parents=True)
    write(folder, task)
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder), "--out", str(out)])
    assert ended.value.code == 0
    assert "\x1b[31m" not in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {"a"}
    assert {p.name for p in (tmp_path / "a" / "b").iterdir()} == {"run", "out"}
    tables = {"table.csv", "table.tex"}
    assert {p.name for p in out.iterdir()} == {"report.html", "report.md", "figures", *tables}
    page = (out / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "$\\frac" in page
    text = (out / "report.md").read_text("utf-8")
    outside = re.sub(r"(?ms)^(`{3,})\w*$.*?^\1$", "", text)  # all but blocks of code
    assert "<script" not in outside.replace("\\<script", "")
    assert "](http" not in outside
    rows = [line.replace("\\|", "") for line in outside.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


def test_an_analysis_shows_names_as_they_are(tmp_path: Path) -> None:
    records = [
        {"encoder": name, "measure": "distance", "part": "all", "value": 1.0}
        for name in (HOSTILE, "_hidden")
    ]
    records += [
        {"encoder": name, "measure": measure, "layer": layer, "value": 90.0, "frames": 5}
        for name in (HOSTILE, "_hidden")
        for measure in ("cka", "cosine")
        for layer in (0, 1)
    ]
    draw(records, tmp_path / "similarity.png")
    text = markdown(records, HOSTILE, 3)
    text.encode("utf-8")
    assert "<script" not in text.replace("\\<script", "")


def test_names_on_a_terminal_are_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console, table = output(), Table(HOSTILE)
    table.add_row(HOSTILE)
    console.print(HOSTILE)
    console.print(table)
    shown = capsys.readouterr().out
    assert "[/b] $\\frac <script>" in shown
    assert "\x1b" not in shown
    assert shown.count("[/b]") == 3


def test_a_plan_shows_the_names_of_its_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {"name": "x", "encoder": "[/b] \x1b[31m", "data": "synthetic:demo"}
    (tmp_path / "recipe.yaml").write_text(json.dumps({**recipe, "finetune": {"task": "sid"}}))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tmp_path / "recipe.yaml"), "--dry-run", "--out", str(tmp_path / "out")])
    assert ended.value.code == 4
    printed = capsys.readouterr()
    assert "encoder  [/b] \\x1b[31m" in printed.out
    assert "no such encoder" in printed.err
