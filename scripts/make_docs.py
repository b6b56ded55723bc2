"""Write the generated parts of docs/: commands, settings, and the pages made from results/.

With `--check` nothing is written; the exit code says whether the pages are up to date.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from pages.commands import cli_page
from pages.memory import memory_page
from pages.plan import plan_page
from pages.results import results_page
from pages.settings import settings_page
from pages.studies import study_pages

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def pages() -> dict[Path, str]:
    """Give every generated page by its path."""
    found = {DOCS / "cli.md": cli_page(), DOCS / "results.md": results_page(ROOT)}
    found |= {DOCS / "settings.md": settings_page(), DOCS / "how-to/plan-64-gpus.md": plan_page()}
    memory = DOCS / "how-to" / "memory.md"
    record = (ROOT / "results" / "benchmarks" / "memory.json").read_text(encoding="utf-8")
    found[memory] = memory_page(memory.read_text(encoding="utf-8"), json.loads(record))
    return found | study_pages(ROOT)


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    importlib.import_module("speechft")
    stale = []
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"{'out of date' if check else 'written'}: {', '.join(stale)}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
