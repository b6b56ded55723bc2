"""Copy what is worth keeping of a finished run or study: results, recipe, provenance, figures.

python scripts/keep_results.py runs/NAME results/NAME
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

KEEP = {"results.jsonl", "grid.jsonl", "encoders.json", "run.json", "recipe.yaml", "timing.json"}
STUDY = "measurements.jsonl"
KEEP |= {"speechft.json", "report.md", "metrics.jsonl"}


def keep(run: Path, place: Path) -> list[Path]:
    """Copy the small files of `run` to the same paths under `place`; give them.

    All files of a study are small: its stages lie elsewhere.
    """
    if (run / STUDY).is_file():
        from speechft.core.files import write_text
        from speechft.reporting.study.files import write_page

        shutil.copytree(run, place, dirs_exist_ok=True)
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
    return copied


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
