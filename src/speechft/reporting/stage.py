"""`speechft report`: one page that says what was found, shows it, and tells how to repeat it."""

from __future__ import annotations

from pathlib import Path

from speechft.core.files import write_text
from speechft.core.logging import get_logger
from speechft.reporting.comparison import Comparison, compare
from speechft.reporting.drift import read_drift
from speechft.reporting.examples import examples
from speechft.reporting.figures import draw_all
from speechft.reporting.page import Page, class_files, render_html, render_markdown, table_files
from speechft.reporting.read_results import read_evidence
from speechft.reporting.settings import ReportSettings

log = get_logger(__name__)


def report(settings: ReportSettings) -> Path:
    """Write the report of one or more runs.

    Returns:
        The path of `report.html`, one file that needs no other.

    Raises:
        DataError: a run folder is missing or holds no usable results.
    """
    evidence = read_evidence(settings.runs)
    comparison = compare(evidence.measurements, evidence.dev)
    if evidence.on_different_data:
        log.warning(
            "report: not all rows have the same test data for %s; compare only rows of one run",
            ", ".join(evidence.on_different_data),
        )
    drift = {name: v for run in settings.runs for name, v in read_drift(run).items()}
    drawings = draw_all(comparison, evidence.curves, settings.out / "figures", drift)
    names = [str(run["name"]) for run in evidence.runs if "name" in run]
    title = settings.title or " and ".join(names) or settings.runs[0].resolve().name
    page = Page(
        title=title,
        comparison=comparison,
        evidence=evidence,
        drawings=drawings,
        examples=examples(comparison, audio=settings.audio),
    )
    write_text(settings.out / "report.md", render_markdown(page))
    for name, text in (table_files(comparison) | class_files(page)).items():
        write_text(settings.out / name, text)
    path = settings.out / "report.html"
    write_text(path, render_html(page))
    log.info("report: %s", path)
    return path


def comparison_of(runs: tuple[Path, ...]) -> Comparison:
    """Give the table of run folders, for the terminal."""
    evidence = read_evidence(runs)
    return compare(evidence.measurements, evidence.dev)
