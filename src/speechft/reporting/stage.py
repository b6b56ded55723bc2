"""`speechft report`: one page that says what was found, shows it, and tells how to repeat it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from speechft.core.files import write_text
from speechft.core.logging import get_logger
from speechft.core.paths import in_the_way
from speechft.reporting.comparison import Comparison, compare
from speechft.reporting.drift import read_drift
from speechft.reporting.encoder_roles import read_about
from speechft.reporting.examples import examples
from speechft.reporting.figures import draw_all
from speechft.reporting.page import Page, class_files, render_html, render_markdown, table_files
from speechft.reporting.read_results import RUN, read_evidence
from speechft.reporting.settings import ReportSettings

log = get_logger(__name__)
PAGE: Final = "report.html"
TITLE: Final = "speechft report</title>"
"""By which a page is known for a report."""


def report(settings: ReportSettings) -> Path:
    """Write the report of one or more runs.

    Returns:
        The path of `report.html`, one file that needs no other.

    Raises:
        DataError: a run folder is missing or holds no usable results.
        SettingsError: the output's folder holds files of the same names that are no report's.
    """
    _refuse_others(settings.out)
    evidence = read_evidence(settings.runs)
    comparison = compare(evidence.measurements, evidence.dev)
    if evidence.on_different_data:
        log.warning(
            "report: not all rows have the same test data for %s; compare only rows of one run",
            ", ".join(evidence.on_different_data),
        )
    for task, said in evidence.different_probes.items():
        log.warning(
            "report: not all rows of %s were measured by the same probe (%s); compare only rows of "
            "one run",
            *(task, said),
        )
    drift = read_drift(settings.runs)
    drawings = draw_all(comparison, evidence.curves, settings.out / "figures", drift)
    names = [read_about(run / RUN).get("name", run.resolve().name) for run in settings.runs]
    title = settings.title or " and ".join(dict.fromkeys(map(str, names)))
    page = Page(
        title=title,
        comparison=comparison,
        evidence=evidence,
        drawings=drawings,
        examples=examples(comparison, audio=settings.audio),
    )
    path = settings.out / PAGE
    write_text(path, render_html(page))  # first, since it says that all are of a report
    write_text(settings.out / "report.md", render_markdown(page))
    for name, text in (table_files(comparison) | class_files(page)).items():
        write_text(settings.out / name, text)
    log.info("report: %s", path)
    return path


def _refuse_others(out: Path) -> None:
    """Refuse a folder where files of the user's have the names of a report's."""
    page = out / PAGE
    if page.is_file() and TITLE in page.read_text(encoding="utf-8", errors="replace")[:20_000]:
        return
    names = [
        name for name in (PAGE, "report.md", "table.csv", "table.tex") if (out / name).exists()
    ]
    if names:
        raise in_the_way(out, names, "no folder, or an earlier report", "choose another --out")


def comparison_of(runs: tuple[Path, ...]) -> Comparison:
    """Give the table of run folders, for the terminal."""
    evidence = read_evidence(runs)
    return compare(evidence.measurements, evidence.dev)
