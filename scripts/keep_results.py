"""Copy what is worth keeping of a finished run or study: results, recipe, provenance, figures.

The commit that is checked out is noted as the one that measured it. A long study can be done in
parts, each of other seeds (`speechft study NAME --set "seeds=[0]"`), also on several machines: what
is kept of other seeds of the same study stays, and the page is of all of them.

python scripts/keep_results.py runs/NAME results/NAME
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from speechft.core.artifact import Artifact
from speechft.core.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from speechft.core.yaml12 import read_yaml
from speechft.reporting.study.files import ABOUT, RECIPE, write_page, write_recipe
from speechft.reporting.study.plots import draw
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.table import make_table

KEEP = {"results.jsonl", "grid.jsonl", "encoders.json", "recipe.yaml", "timing.json"}
RUN, STUDY = "run.json", "measurements.jsonl"
KEEP |= {RUN, "speechft.json", "report.md", "metrics.jsonl"}


def keep(run: Path, place: Path) -> list[Path]:
    """Copy the small files of `run` to the same paths under `place`; give them.

    All files of a study are small: its stages lie elsewhere.
    """
    if (run / STUDY).is_file():
        about = {**read_json(run / ABOUT), "commit": commit()}
        others = _other_seeds(run, place)
        shutil.copytree(run, place, dirs_exist_ok=True)
        write_json(place / ABOUT, about)
        if others[0]:
            _join(place, *others)
        # With the reading that lies there: the run itself has none.
        write_text(place / "report.md", write_page(place))
        return [path for path in place.rglob("*") if path.is_file()]
    if not (run / "report.html").is_file():
        raise SystemExit(f"{run} is not a finished run: there is no report.html in it")
    copied = []
    for file in sorted(run.rglob("*")):
        path = file.relative_to(run)
        hidden = any(part.startswith(".") or part == "cells" for part in path.parts)
        if hidden or not (file.name in KEEP or path.parts[0] == "figures") or not file.is_file():
            continue
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / path)
        copied.append(place / path)
    for file in copied:
        _forget_machine(file, run.resolve())
    if (place / RUN).is_file():
        content = json.loads((place / RUN).read_text(encoding="utf-8"))
        text = json.dumps({**content, "commit": commit()}, indent=2, ensure_ascii=False)
        (place / RUN).write_text(text + "\n", encoding="utf-8")
    return copied


def _other_seeds(run: Path, place: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give what is kept of other seeds of the run's study: about them, and their measurements.

    Raises:
        SystemExit: both have a seed, but not the same seeds.
    """
    if not (place / STUDY).is_file():
        return [], []
    now, kept = (read_yaml(folder / RECIPE) for folder in (run, place))
    if kept["seeds"] == now["seeds"] or {**kept, "seeds": now["seeds"]} != now:
        return [], []
    about = read_json(place / ABOUT)
    parts = about.get("parts", [{**about, "seeds": kept["seeds"]}])
    parts = [part for part in parts if part["seeds"] != now["seeds"]]
    seeds = {seed for part in parts for seed in part["seeds"]}
    if both := seeds & set(now["seeds"]):
        raise SystemExit(f"{place} has seed {min(both)} already, in a part of other seeds")
    measured = [r for r in read_jsonl(place / STUDY) if r["seed"] in seeds]
    return parts, measured


def _join(place: Path, kept: list[dict[str, Any]], measured: list[dict[str, Any]]) -> None:
    """Join a part that has just been copied with those of other seeds."""
    recipe, own = read_yaml(place / RECIPE), read_json(place / ABOUT)
    parts = [*kept, {**own, "seeds": recipe["seeds"]}]
    parts.sort(key=lambda part: part["seeds"])
    recipe["seeds"] = [seed for part in parts for seed in part["seeds"]]
    rows = [*measured, *read_jsonl(place / STUDY)]
    rows.sort(key=lambda record: recipe["seeds"].index(record["seed"]))
    write_jsonl(place / STUDY, rows)
    write_recipe(place, recipe)
    settings = StudySettings.model_validate(recipe)
    about = {
        "chosen": {
            row: ", ".join(dict.fromkeys(p["chosen"][row] for p in parts if row in p["chosen"]))
            for row in {row: None for part in parts for row in part["chosen"]}
        },
        **{k: [x for part in parts for x in part[k]] for k in ("missing", "diverged")},
        "synthetic": own["synthetic"],
        "hours": round(sum(part["hours"] for part in parts), 2),
        "processors": sorted({name for part in parts for name in part.get("processors", ())}),
        "commit": ", ".join(dict.fromkeys(part["commit"] for part in parts)),
        "figures": draw(settings, make_table(settings, rows), place),
        "parts": parts,
    }
    write_json(place / ABOUT, about)
    Artifact(place, "study", {"name": settings.name}).end([STUDY], settings=recipe)


def commit() -> str:
    """Name the commit that has measured it: the one that is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _forget_machine(file: Path, run: Path) -> None:
    """Write the run's own folder as it is called wherever it is repeated."""
    if file.suffix in {".json", ".jsonl", ".yaml", ".md"}:
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(str(run), f"runs/{run.name}"), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    kept = keep(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(f"{len(kept)} files in {sys.argv[2]}\n")
