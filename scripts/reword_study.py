"""Take the words of studies/NAME.yaml (title, about, findings) into a kept study.

python scripts/reword_study.py NAME

What was measured stays as it is; a study whose stages, rows or seeds differ is refused. The
reading, `notes.md`, is stamped as one of these measurements: call it when you have read both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
WORDS = ("title", "about", "findings")


def reword(name: str, root: Path = ROOT) -> Path:
    """Write the kept study's recipe, provenance and page anew; give its folder."""
    from speechft.stages.study import load_study, write_page
    from speechft.stages.studying.written import READING, stamp_of

    folder = root / "results" / "studies" / name
    now = load_study(root / "studies" / f"{name}.yaml").model_dump(mode="json", exclude_unset=True)
    kept: dict[str, Any] = yaml.safe_load((folder / "study.yaml").read_text("utf-8"))
    other = [k for k in {**now, **kept} if k not in WORDS and now.get(k) != kept.get(k)]
    if other:
        raise SystemExit(f"{name}: {', '.join(other)} changed since it was measured: run it again")
    (folder / "study.yaml").write_text(
        yaml.safe_dump(now, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    record = json.loads((folder / "speechft.json").read_text("utf-8"))
    text = json.dumps({**record, "settings": now}, indent=2, ensure_ascii=False) + "\n"
    (folder / "speechft.json").write_text(text, encoding="utf-8")
    notes = folder / READING
    if notes.is_file():
        lines = notes.read_text("utf-8").splitlines()
        kept_lines = [line for line in lines if not line.startswith("<!-- measurements ")]
        notes.write_text("\n".join([stamp_of(folder), *kept_lines]) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(write_page(folder), encoding="utf-8")
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.stdout.write(f"{reword(sys.argv[1])}: title, about and findings\n")
