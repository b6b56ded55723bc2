"""docs/studies/: a page per study of results/studies/, and the list of them with their findings."""

from __future__ import annotations

from pathlib import Path

HEAD = """# Studies

Written by `make docs` from `results/studies/`. Each study is a file in `studies/`; `make study`
does all of them but the attempts, which look for reasons where a finding does not hold, or ask
again what was found. "As in the paper" means that the published direction is found and exceeds the
seeds' spread, "not here" that the other one is and does; a study's own question "holds" or does
not. What exceeds it neither way is "not told apart"; only "as good or better" also holds where the
means are level.
"""


def study_pages(root: Path) -> dict[Path, str]:
    """Give the pages by their paths; none where no study has been kept."""
    from speechft.reporting.study.files import MEASUREMENTS, read_study, write_page
    from speechft.reporting.study.page import cell

    kept = sorted(p.parent for p in (root / "results" / "studies").glob(f"*/{MEASUREMENTS}"))
    place = root / "docs" / "studies"
    lines, pages = [HEAD], {}
    for folder in kept:
        settings, _, claims, _ = read_study(folder)
        pages[place / f"{folder.name}.md"] = write_page(
            folder, f"../../results/studies/{folder.name}/"
        )
        lines += [f"## [{settings.title}]({folder.name}.md)\n"]
        lines += ["| finding | here |", "| --- | --- |"] if claims else []
        lines += [f"| {cell(claim.finding.says)} | {claim.verdict} |" for claim in claims]
        lines.append("")
    if kept:
        pages[place / "index.md"] = "\n".join(lines)
    return pages
