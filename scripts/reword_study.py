"""Take the words of studies/NAME.yaml (title, about, findings) into a kept study.

python scripts/reword_study.py NAME

What was measured stays as it is; a study whose stages, rows or seeds differ is refused. The
reading, `notes.md`, is stamped as one of these measurements: call it when you have read both.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = ("title", "about", "findings")


def reword(name: str, root: Path = ROOT) -> Path:
    """Write the kept study's recipe, provenance and page anew; give its folder."""
    from speechft.core.artifact import RECORD
    from speechft.core.files import read_json, write_json, write_text
    from speechft.pipeline.study.study_file import load_study
    from speechft.reporting.study.files import read_study, stamp, write_page, write_recipe

    folder = root / "results" / "studies" / name
    now, kept = (
        study.model_dump(mode="json", exclude_unset=True)
        for study in (load_study(root / "studies" / f"{name}.yaml"), read_study(folder)[0])
    )
    other = [k for k in {**now, **kept} if k not in WORDS and now.get(k) != kept.get(k)]
    if other:
        raise SystemExit(f"{name}: {', '.join(other)} changed since it was measured: run it again")
    write_recipe(folder, now)
    record = read_json(folder / RECORD)
    write_json(folder / RECORD, {**record, "settings": now})
    stamp(folder)
    write_text(folder / "report.md", write_page(folder))
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.stdout.write(f"{reword(sys.argv[1])}: title, about and findings\n")
