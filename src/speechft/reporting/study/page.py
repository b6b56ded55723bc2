"""The study's page in Markdown: table, differences, findings, plots, how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speechft.core.escaping import task_heading
from speechft.metrics.measures import direction
from speechft.metrics.statistics import SeedValues
from speechft.metrics.superb import score_text
from speechft.probing.hardly_learned import HARDLY_LEARNED
from speechft.reporting.comparison import ARROWS, metric_title
from speechft.reporting.measurements import HEARD, heard_text
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.stage_and_row_settings import SCORE
from speechft.reporting.study.table import Table
from speechft.reporting.study.verdicts import Verdict, figures_of

_NO_BRACKETS = str.maketrans("[]", "()")
VERDICTS = (
    "A finding holds where the intervals of its pairs lie above 0 (where as good is enough, above "
    "the margin that was declared), fails where they lie below, and is not told apart else. The "
    "intervals are paired by seed (Student's t) and hold with 95 % for all findings of the page "
    "together (Holm). One seed tells nothing apart."
)
SEEN = "†"
"""Marks a published figure that nobody has read in the paper itself."""
SEEN_TEXT = f"{SEEN} read in a summary of the paper, not in the paper: a target, no expected value."
SYNTHETIC = (
    "Measured on synthetic speech with tiny encoders: the directions are what counts, not the "
    "values."
)


def page(
    study: StudySettings,
    table: Table,
    verdicts: Sequence[Verdict],
    about: Mapping[str, Any],
    figures: Sequence[tuple[str, str]],
    reading: str = "",
) -> str:
    """Give the page.

    Args:
        study: the study.
        table: its values.
        verdicts: on its findings.
        about: what was done: "chosen" (row → encoder), "hours" of processor time, "processors",
            "synthetic", "missing" and "diverged" (rows without values), "commit" that measured it.
        figures: (path relative to the page, caption).
        reading: what a person says of the numbers.
    """
    parts = [f"# {study.title}\n"]
    if about.get("synthetic"):
        parts.append(f"{SYNTHETIC}\n")
    parts += [f"{study.about.strip()}\n"] if study.about else []
    if missing := about.get("missing"):
        parts.append(f"**Not complete:** not all columns yet of {_by_seeds(missing)}.\n")
    if diverged := about.get("diverged"):
        parts.append(f"**Diverged in training, so without a value:** {_by_seeds(diverged)}.\n")
    if verdicts:
        parts += ["## What was found\n", *_findings(verdicts)]
    parts += [f"{reading.strip()}\n"] if reading.strip() else []
    parts += ["## Table\n", *_table(study, table, about.get("chosen", {}))]
    parts += [f"{text}\n" for text in _unlearned(study, table)]
    parts += ["## Differences\n", *_differences(study, table)]
    parts += ["## How far from θ0\n", *_moved(study, table)] if table.moved else []
    for path, caption in figures:
        parts.append(f"![{caption.translate(_NO_BRACKETS)}]({path})\n\n{caption}\n")
    on = f" ({'; '.join(about['processors'])})" if about.get("processors") else ""
    if commit := about.get("commit"):
        parts.append(f"Measured with commit `{commit}`.\n")
    parts.append(
        f"Repeat it with `speechft study {study.name}`; it took {about.get('hours', 0):.1f} hours "
        f"of processor time{on}, stages shared with other studies included.\n"
    )
    return "\n".join(parts)


def _unlearned(study: StudySettings, table: Table) -> list[str]:
    """Say of which rows the probes have hardly learned, task by task."""
    texts = []
    for task, rows in table.unlearned.items():
        named = [
            f"{row.heading} (seed {' '.join(map(str, rows[row.name]))})"
            for row in study.grouped
            if row.name in rows
        ]
        texts.append(f"**{task_heading(task)}:** the probe on {', '.join(named)} {HARDLY_LEARNED}")
    return texts


def _by_seeds(labels: Sequence[str]) -> str:
    """Say "ROW, seed N N" of many rows and seeds in few words."""
    seeds: dict[str, list[str]] = {}
    for label in labels:
        row, _, own = label.rpartition(", seed ")
        seeds.setdefault(row, []).extend(own.split())
    rows: dict[str, list[str]] = {}
    for row, found in seeds.items():
        rows.setdefault(f"seed{'s' * (len(found) > 1)} {', '.join(found)}", []).append(row)
    return "; ".join(f"{', '.join(names)} ({which})" for which, names in rows.items())


def cell_title(column: str) -> str:
    """Name a column for people: `PR PER ↓`."""
    task, metric = column.rsplit(" ", 1)
    return f"{task_heading(task)} {metric_title(metric)} {ARROWS[direction(metric)]}"


def _findings(verdicts: Sequence[Verdict]) -> list[str]:
    lines = ["| finding | here | figures |", "| --- | --- | --- |"]
    for verdict in verdicts:
        published = verdict.finding.published
        said = verdict.finding.says + (f" (Published: {published}.)" if published else "")
        lines.append(f"| {cell(said)} | **{verdict.text}** | {cell(figures_of(verdict))} |")
    seen = any(SEEN in verdict.finding.published for verdict in verdicts)
    return [*lines, "", f"{VERDICTS}{f' {SEEN_TEXT}' if seen else ''}\n"]


def _table(study: StudySettings, table: Table, chosen: Mapping[str, str]) -> list[str]:
    titles = [cell_title(c) for c in table.columns]
    lines = [
        f"| encoder | {'SUPERB_S' if study.reference else 'score'} ↑ | {' | '.join(titles)} |",
        "| --- |" + " ---: |" * (1 + len(titles)),
    ]
    group = ""
    for row in study.grouped:
        if row.name not in table.rows:
            continue
        if row.group != group:
            group = row.group
            if group:
                lines.append(f"| **{cell(group)}** |" + " |" * (1 + len(titles)))
        cells = [table.spread(row.name, c) for c in table.columns]
        score = table.spread(row.name, SCORE)
        texts = [
            "" if s is None else s.text() + table.mark(row.name, c)
            for s, c in zip(cells, table.columns, strict=True)
        ]
        name = cell(row.title) + (f" ({chosen[row.name]})" if row.name in chosen else "")
        if score is not None and len(score.values) < len(study.seeds):  # some diverged
            name += f", seeds: {len(score.values)}"
        shown = "" if score is None else score.text(0) + table.mark(row.name, SCORE)
        lines.append(f"| {name} | {shown} | {' | '.join(texts)} |")
    several = f"mean ± standard deviation over {len(study.seeds)} seeds"
    spread = f"Percent on the test splits, {several if len(study.seeds) > 1 else 'one seed'}."
    further = f" {', '.join(task_heading(t) for t in study.further)} not counted in the score."
    shares = [share for own in table.heard.values() for share in own.values()]
    heard = f" {HEARD} {heard_text(max(shares))}" if shares else ""
    return [
        *lines,
        "",
        f"{spread} {score_text(study.reference)}{further if study.further else ''}{heard}\n",
    ]


def _differences(study: StudySettings, table: Table) -> list[str]:
    lines = [
        "| encoder | score against θ0 | 95 % interval | score against θ′ | 95 % interval |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in study.grouped:
        before, tuned = table.against(row, row.before), table.against(row, row.tuned)
        if before or tuned:
            lines.append(f"| {cell(row.heading)} | {_pair(before)} | {_pair(tuned)} |")
    return [
        *lines,
        "",
        "Paired by seed; t intervals over the seeds, each row for itself, not corrected.\n",
    ]


_MOVED = (
    "Percent, mean ± standard deviation over the seeds. *distance*: length of the task vector, of "
    "θ0's weights. *CKA*, *cosine*: how alike the hidden states are to θ0's, mean over the layers. "
    "*connectivity*: cosine between the hidden states of the encoder between θ0 and this one and "
    "the mixture of both encoders' states."
)


def _moved(study: StudySettings, table: Table) -> list[str]:
    heads = [metric_title(column.split()[1]) for column in table.moved]
    lines = [f"| encoder | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for row in study.grouped:
        spreads = [table.spread(row.name, column) for column in table.moved]
        if any(spreads):
            texts = ["" if spread is None else spread.text() for spread in spreads]
            lines.append(f"| {cell(row.heading)} | {' | '.join(texts)} |")
    return [*lines, "", f"{_MOVED}\n"]


def _pair(difference: SeedValues | None) -> str:
    if difference is None:
        return " | "
    interval = difference.interval()
    return f"{difference.text(signed=True)} | {'' if interval is None else interval.text()}"


def cell(text: str) -> str:
    """Write a text so that it fits into one cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
