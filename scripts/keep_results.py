"""Copy what is worth keeping of a finished run or study: results, recipe, provenance, figures.

The commit that is checked out is noted as the one that measured it. A long study can be done in
parts, each of other seeds (`speechft study NAME --set "seeds=[0]"`), also on several machines: what
is kept of other seeds of the same study stays, and the page is of all of them. A part of one seed
that has not measured all rows leaves those that an earlier part of that seed measured, whole rows.

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
        before = _kept_before(run, place)
        shutil.copytree(run, place, dirs_exist_ok=True)
        write_json(place / ABOUT, about)
        if before[0]:
            _join(place, *before)
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


def _kept_before(run: Path, place: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give the parts that are kept of the run's study: about them, and their measurements.

    Raises:
        SystemExit: both have a seed, but not the same seeds.
    """
    if not (place / STUDY).is_file():
        return [], []
    now, kept = (read_yaml(folder / RECIPE) for folder in (run, place))
    in_rows = len(now["seeds"]) == 1 and read_json(run / ABOUT)["missing"]
    again = kept["seeds"] == now["seeds"] and not in_rows
    if again or {**kept, "seeds": now["seeds"]} != now:
        return [], []
    about = read_json(place / ABOUT)
    parts = about.get("parts", [{**about, "seeds": kept["seeds"]}])
    if in_rows:
        (seed,) = now["seeds"]
        split = (_by_seed(part) if seed in part["seeds"] else [part] for part in parts)
        parts = [one for several in split for one in several]
    others = [part for part in parts if part["seeds"] != now["seeds"]]
    if both := {seed for part in others for seed in part["seeds"]} & set(now["seeds"]):
        raise SystemExit(f"{place} has seed {min(both)} already, in a part of other seeds")
    return parts, read_jsonl(place / STUDY)


def _by_seed(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a part of each seed of a part; they share its hours alike."""
    seeds = [str(seed) for seed in part["seeds"]]
    if len(seeds) == 1:
        return [part]

    def of_seed(labels: list[str], seed: str) -> list[str]:
        cut = [label.partition(", seed ") for label in labels]
        return [f"{row}, seed {seed}" for row, _, named in cut if seed in named.split()]

    return [
        {
            **part,
            "seeds": [int(seed)],
            **{name: of_seed(part[name], seed) for name in ("missing", "diverged")},
            "jobs": {
                label: job
                for label, job in part["jobs"].items()
                if seed in label.partition(", seed ")[2].partition(",")[0].split()
            },
            "hours": round(part["hours"] / len(seeds), 2),
        }
        for seed in seeds
    ]


def _join(place: Path, kept: list[dict[str, Any]], measured: list[dict[str, Any]]) -> None:
    """Join a part that has just been copied with those that were there."""
    recipe, own = read_yaml(place / RECIPE), read_json(place / ABOUT)
    fresh = read_jsonl(place / STUDY)
    again, mine = {record["row"] for record in fresh}, set(recipe["seeds"])
    earlier = [r for r in measured if r["seed"] in mine and r["row"] not in again]
    if not own["missing"] or len(mine) > 1:
        earlier = []
    rows = [r for r in measured if r["seed"] not in mine] + earlier + fresh
    if earlier:
        (part,) = (part for part in kept if part["seeds"] == recipe["seeds"])
        own = _both(part, own, again)
    parts = [part for part in kept if part["seeds"] != recipe["seeds"]]
    parts.append({**own, "seeds": recipe["seeds"]})
    parts.sort(key=lambda part: part["seeds"])
    recipe["seeds"] = [seed for part in parts for seed in part["seeds"]]
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
        "commit": ", ".join(
            dict.fromkeys(name for part in parts for name in part["commit"].split(", "))
        ),
        "figures": draw(settings, make_table(settings, rows), place),
        "parts": parts,
    }
    write_json(place / ABOUT, about)
    Artifact(place, "study", {"name": settings.name}).end([STUDY], settings=recipe)


def _both(before: dict[str, Any], now: dict[str, Any], again: set[str]) -> dict[str, Any]:
    """Give what is said about a seed of which some rows were measured before, others now."""

    def is_now(label: str) -> bool:
        return label.rpartition(", seed")[0].partition(" beside ")[0] in again

    lists = {
        name: [x for x in before[name] if not is_now(x)] + [x for x in now[name] if is_now(x)]
        for name in ("missing", "diverged")
    }
    commits = dict.fromkeys(f"{before['commit']}, {now['commit']}".split(", "))
    return {
        **before,
        **now,
        **lists,
        **{n: {**before.get(n, {}), **now.get(n, {})} for n in ("chosen", "jobs", "choices")},
        "hours": round(before["hours"] + now["hours"], 2),
        "processors": sorted({*before.get("processors", ()), *now.get("processors", ())}),
        "commit": ", ".join(commits),
    }


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
