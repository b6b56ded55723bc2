"""docs/studies/: a page per study of results/studies/, and the list of them with their findings."""

from __future__ import annotations

from pathlib import Path

HEAD = """# Studies

Written by `make docs` from `results/studies/`. Each study is a file in `studies/`; `make study`
does all of them but the attempts, which look for reasons where a finding does not hold, or ask
again what was found. "As in the paper" means that the published direction is found and its interval
over the seeds leaves out 0, "not here" that the interval lies on the other side; a study's own
question "holds" or does not. All else is "not told apart". "As good" means above a margin that the
study's file declares. The intervals hold with 95 % for all findings of a study together (Holm).

The verdicts follow these rules; the measurements on synthetic speech are older, and each page names
the commit that has measured it, until the studies are run once more. `human` and `human-rule` are
kept in parts.
"""


def study_pages(root: Path) -> dict[Path, str]:
    """Give the pages by their paths; none where no study has been kept."""
    from speechft.reporting.study.files import MEASUREMENTS, read_study, write_page
    from speechft.reporting.study.page import cell

    kept = sorted(p.parent for p in (root / "results" / "studies").glob(f"*/{MEASUREMENTS}"))
    place = root / "docs" / "studies"
    lines, pages = [HEAD], {}
    for folder in kept:
        settings, _, verdicts, _ = read_study(folder)
        pages[place / f"{folder.name}.md"] = write_page(
            folder, f"../../results/studies/{folder.name}/"
        )
        lines += [f"## [{settings.title}]({folder.name}.md)\n"]
        lines += ["| finding | here |", "| --- | --- |"] if verdicts else []
        lines += [f"| {cell(one.finding.says)} | {one.text} |" for one in verdicts]
        lines.append("")
    if kept:
        pages[place / "index.md"] = "\n".join(lines)
    return pages
