"""What planning costs: a study of 100 jobs, and a recipe that is done.

    python benchmarks/pipeline.py --out results/benchmarks/pipeline.json

Each is a process of its own, its imports included, as a user waits for it. The study's jobs are
still to be done; it is planned by `speechft study --dry-run`, which must take no more than 2 s. The
recipe is the demo's with a few updates, done before; `speechft run --dry-run` looks at all that it
has made, which must take no more than 3 s.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from probe import machine, note
from probing.figures import rounded
from probing.folder import working_folder

from speechft.core.files import write_json
from speechft.pipeline.recipe.stage import load_recipe, run
from speechft.pipeline.study.stage import load_study, plan_studies

LIMITS = {"study": 2.0, "recipe": 3.0}
SHORT = (
    "finetune.steps=4",
    "evaluate.steps=4",
    "evaluate.sweep=[]",
    "evaluate.sweep_tasks=[]",
    "evaluate.tasks=[sid]",
)


def study_of_100_jobs(folder: Path) -> Path:
    """Write a study with 4 seeds of 12 merges of one fine-tuning, each evaluated."""
    alphas = [round(0.05 * n, 2) for n in range(1, 13)]
    row = {"for": "alphas", "name": "at-{alpha}", "title": "{alpha}", "encoder": "at-{alpha}"}
    values = {
        "name": "many",
        "title": "Many jobs",
        "seeds": [0, 1, 2, 3],
        "encoders": {"theta0": "tiny-hubert"},
        "finetune": {"data": "synthetic:tiny", "steps": 3},
        "evaluate": {"data": "synthetic:tiny", "tasks": ["sid"]},
        "sets": {"alphas": [{"alpha": alpha} for alpha in alphas]},
        "stages": [
            {"name": "tuned", "finetune": {"task": "sid"}},
            {"for": "alphas", "name": "at-{alpha}", "of": "tuned", "merge": {"alpha": "{alpha}"}},
        ],
        "rows": [row | {"before": ""}],
        "findings": [],
    }
    path = folder / "many.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def seconds(arguments: list[str], rounds: int) -> float:
    """Give the median time of a command."""
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        command = [sys.executable, "-m", "speechft", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - begin)
    return median(taken)


def benchmark(rounds: int, work: Path) -> dict[str, Any]:
    """Measure both."""
    path = study_of_100_jobs(work)
    jobs = len(plan_studies([load_study(path)], work / "studies").jobs)
    note(f"a study of {jobs} jobs")
    begin = time.perf_counter()
    plan_studies([load_study(path)], work / "studies")
    inside = time.perf_counter() - begin
    study = seconds(["study", str(path), "--out", str(work / "studies"), "--dry-run"], rounds)
    note("a recipe that is done")
    out = work / "run"
    run(load_recipe("demo", SHORT), out)
    changes = [part for change in SHORT for part in ("--set", change)]
    recipe = seconds(["run", "demo", "--out", str(out), "--dry-run", *changes], rounds)
    found = {
        "machine": {**machine(1), "torch": torch.__version__},
        "jobs": jobs,
        "study_planned": inside,
        "study_dry_run": study,
        "recipe_dry_run": recipe,
        "limits": LIMITS,
    }
    return {key: rounded(value) for key, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with working_folder(None) as work:
        result = benchmark(options.rounds, work.absolute())
    sys.stdout.write(
        f"{result['jobs']} jobs planned in {result['study_planned']} s, "
        f"{result['study_dry_run']} s with all imports (limit {LIMITS['study']:g} s)\n"
        f"a done recipe looked through in {result['recipe_dry_run']} s "
        f"(limit {LIMITS['recipe']:g} s)\n"
    )
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
