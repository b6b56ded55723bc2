"""Copy what is worth keeping of a finished run or study: results, recipe, provenance, figures.

The commit that is checked out is noted as the one that measured it.

python scripts/keep_results.py runs/NAME results/NAME
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

KEEP = {"results.jsonl", "grid.jsonl", "encoders.json", "recipe.yaml", "timing.json"}
RUN, STUDY = "run.json", "measurements.jsonl"
KEEP |= {RUN, "speechft.json", "report.md", "metrics.jsonl"}


def keep(run: Path, place: Path) -> list[Path]:
    """Copy the small files of `run` to the same paths under `place`; give them.

    All files of a study are small: its stages lie elsewhere.
    """
    if (run / STUDY).is_file():
        from speechft.core.files import read_json, write_json, write_text
        from speechft.reporting.study.files import ABOUT, write_page

        shutil.copytree(run, place, dirs_exist_ok=True)
        about = {**read_json(run / ABOUT), "commit": commit()}
        write_json(place / ABOUT, about)
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
