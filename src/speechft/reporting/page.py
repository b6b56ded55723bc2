"""Lay out: the HTML page, the Markdown page, and the table for the terminal."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from typing import Any, Final

import jinja2
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from speechft.core.artifact import versions
from speechft.core.escaping import fenced, markdown_text, printable, task_heading
from speechft.core.yaml12 import dump_yaml
from speechft.merging.alpha import cell_text, table_of
from speechft.metrics.measures import TITLES
from speechft.metrics.per_class import OF_FOLDS, ClassReport, class_report
from speechft.probing.hardly_learned import HARDLY_LEARNED, by_task
from speechft.reporting.comparison import ARROWS, Comparison, Row, metric_title
from speechft.reporting.contrasts import answers_of
from speechft.reporting.examples import Examples
from speechft.reporting.figure_files import Drawing, csv_text
from speechft.reporting.figures import table_values
from speechft.reporting.findings import findings, label, symbol
from speechft.reporting.measurements import HEARD, NOT_KNOWN_TEXT, Evidence, heard_text

SYNTHETIC = (
    "measured on speech made by a synthesiser (eSpeak NG). It shows how the method behaves; it "
    "says nothing about benchmarks on human speech."
)
_LATEX: Final = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "–": "--"},
    **{"θ": r"$\theta$", "α": r"$\alpha$", "·": r"$\cdot$", "…": r"\dots{}"},
    **{"θ₀": r"$\theta_0$", "θ′": r"$\theta'$", "θ̂": r"$\hat{\theta}$"},
    **{"₀": r"$_0$", "′": "$'$", "\u0302": ""},
}
_LATEX_PARTS: Final = re.compile(
    "|".join(re.escape(part) for part in sorted(_LATEX, key=len, reverse=True))
)
_TERMINAL = 80  # columns
_MOST_CLASSES = 20  # that a page shows
_OPTIONS: Final = ("encoders", "data", "tasks", "seeds")  # of an evaluation, said otherwise
OTHER_PROBES = "Scores of different probes do not compare encoders: compare only rows of one run."
DIFFERENT = (
    "not all rows were measured on the same test data, so these columns compare only rows of one "
    "run."
)


@dataclass(frozen=True)
class Page:
    """What a report shows."""

    title: str
    comparison: Comparison
    evidence: Evidence
    drawings: list[Drawing]
    examples: list[Examples] = field(default_factory=list)

    @cached_property
    def classes(self) -> list[tuple[str, str, ClassReport]]:
        """Task, encoder and classes, where utterances have one."""
        return _classes(self.evidence)

    @cached_property
    def context(self) -> dict[str, Any]:
        """What the templates are filled with; its intervals are drawn once for both forms."""
        return _context(self)


@dataclass(frozen=True)
class Cell:
    """One cell of the table, as text.

    Attributes:
        text: mean and spread.
        change: difference to the pretrained encoder ("+1.2"), or nothing.
        good: whether that change is for the better; none if there is none.
        best: the best of its column.
        own: the row's encoder was fine-tuned on this column's task.
        heard: it has heard some of the test split with labels; of a score, of any.
    """

    text: str
    change: str = ""
    good: bool | None = None
    best: bool = False
    own: bool = False
    heard: bool = False

    @property
    def plain(self) -> str:
        """The text with its mark, for a terminal."""
        return self.text.replace(" ± ", "±") + (HEARD if self.heard else "")


def cells(comparison: Comparison, row: Row) -> list[Cell]:
    """Give a row's cells, the score last."""
    base = _base(comparison, row)
    result = []
    for column in comparison.columns:
        spread = row.cells.get(column.key)
        if spread is None:
            result.append(Cell("–"))
            continue
        ground = base.cells.get(column.key) if base else None
        change, good = "", None
        if ground is not None:
            change, good = _change(spread.mean, ground.mean, column.direction, 1)
        own = column.task in row.encoder.tuned_on.split(",")
        heard = column.task in row.heard
        result.append(Cell(spread.text(), change, good, column.key in row.best, own, heard))
    if row.score is None:
        return [*result, Cell("–")]
    change, good = "", None
    if base and base.score:
        change, good = _change(row.score.mean, base.score.mean, "higher", 0)
    score = Cell(row.score.text(0), change, good, "score" in row.best, heard=bool(row.heard))
    return [*result, score]


def _base(comparison: Comparison, row: Row) -> Row | None:
    if row.encoder.role == "pretrained":
        return None
    start = row.encoder.group.start
    rows = (
        r for r in comparison.rows if r.encoder.role == "pretrained" and r.encoder.group == start
    )
    return next(rows, None)


def _change(value: float, base: float, direction: str, digits: int) -> tuple[str, bool | None]:
    difference = value - base
    if round(abs(difference), digits) == 0:
        return "±0", None
    sign = "+" if difference > 0 else "−"
    return f"{sign}{abs(difference):.{digits}f}", (difference > 0) == (direction == "higher")


def headings(comparison: Comparison) -> list[tuple[str, str]]:
    """Give the table's columns as (task, metric with arrow), the score last."""
    titles = [
        (task_heading(c.task), f"{metric_title(c.metric)} {ARROWS[c.direction]}")
        for c in comparison.columns
    ]
    return [*titles, (comparison.score_name, "↑")]


def render_html(page: Page) -> str:
    """Give the page as one HTML file with everything inside."""
    return _rendered("report.html.j2", page)


def render_markdown(page: Page) -> str:
    """Give the page as Markdown; its figures lie in `figures/`."""
    return _rendered("report.md.j2", page)


def _rendered(template: str, page: Page) -> str:
    text = _environment(".html" in template).get_template(template).render(page.context)
    return text.encode("utf-8", "backslashreplace").decode()  # lone surrogates cannot be written


def table_files(comparison: Comparison) -> dict[str, str]:
    """Give the table for other programs: `table.csv`, and `table.tex` for LaTeX with booktabs."""
    values = csv_text(table_values(comparison))
    return {"table.csv": values, "table.tex": _latex(comparison)}


def _latex(comparison: Comparison) -> str:
    titles = [f"{task} {metric}".strip() for task, metric in headings(comparison)]
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{tabular}{l" + "r" * len(titles) + "}",
        "\\toprule",
        " & ".join(["encoder", *(_latex_text(title) for title in titles)]) + r" \\",
        "\\midrule",
    ]
    for row in comparison.rows:
        name = _latex_text(f"{symbol(row.encoder)} {label(row.encoder)}".strip())
        texts = [
            f"\\textbf{{{_latex_text(cell.text)}}}" if cell.best else _latex_text(cell.text)
            for cell in cells(comparison, row)
        ]
        lines.append(" & ".join([name, *texts]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _latex_text(text: str) -> str:
    """Give a text as it stands in LaTeX, with arrows and ± in math mode."""
    return _LATEX_PARTS.sub(lambda part: _LATEX[part.group()], printable(text))


def terminal_table(comparison: Comparison) -> Table:
    """Give the table for a terminal of 80 columns, words whole; the best of each column is bold.

    Where the metrics do not fit beside each other they become the lines, and where the encoders'
    names do not either these become numbers, which are told below.
    """
    short = [label(r.encoder, short=True) for r in comparison.rows]
    names = [
        f"{symbol(r.encoder)} {text if short.count(text) == 1 else label(r.encoder)}".strip()
        for r, text in zip(comparison.rows, short, strict=True)
    ]
    titles = [f"{task}\n{metric.removeprefix('slot-')}" for task, metric in headings(comparison)]
    titles[-1] = comparison.score_name.replace(" ", "\n") + " ↑"
    texts = [
        [
            Text(cell.plain, style="bold green" if cell.best else "")
            for cell in cells(comparison, row)
        ]
        for row in comparison.rows
    ]
    if len(titles) <= 7 and _fits(names, titles, texts):
        return _table(names, titles, texts)
    lines, turned = [title.replace("\n", " ") for title in titles], list(zip(*texts, strict=True))
    if _fits(lines, names, turned):
        return _table(lines, names, turned)
    numbers = [str(n) for n in range(1, len(names) + 1)]
    table = _table(lines, numbers, turned)
    told = [f"{n}: {name}" for n, name in zip(numbers, names, strict=True)]
    table.caption, table.caption_justify = Text("\n".join(told)), "left"
    return table


def _table(names: Sequence[str], titles: Sequence[str], texts: Sequence[Sequence[Text]]) -> Table:
    """Give the table; titles stay in their lines where there is room for that."""
    lines = [width + 2 for width in _widths(titles, texts, str.splitlines)]
    apart = str.splitlines if _TERMINAL - sum(lines) >= _longest(names) else str.split
    widths = _widths(titles, texts, apart)
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column(
        "", overflow="fold", max_width=max(8, _TERMINAL - sum(widths) - 2 * len(widths))
    )
    for title, width in zip(titles, widths, strict=True):
        table.add_column(title, justify="right", width=width)
    for name, line in zip(names, texts, strict=True):
        table.add_row(name, *line)
    return table


def _widths(
    titles: Sequence[str], texts: Sequence[Sequence[Text]], apart: Callable[[str], list[str]]
) -> list[int]:
    """Give the width of every column: nothing of its title that stays together is broken."""
    columns = zip(titles, zip(*texts, strict=True), strict=True)
    return [max(_longest([title], apart), *(t.cell_len for t in own)) for title, own in columns]


def _fits(names: Sequence[str], titles: Sequence[str], texts: Sequence[Sequence[Text]]) -> bool:
    """Tell whether a terminal's line holds the table without breaking a word."""
    used = sum(width + 2 for width in _widths(titles, texts, str.split))
    return used + _longest(names) <= _TERMINAL


def _longest(texts: Sequence[str], apart: Callable[[str], list[str]] = str.split) -> int:
    return max(cell_len(part) for text in texts for part in apart(text) or [""])


def _context(page: Page) -> dict[str, Any]:
    comparison, evidence = page.comparison, page.evidence
    return {
        "title": printable(page.title),
        "notes": _notes(evidence),
        "findings": findings(comparison),
        "headings": headings(comparison),
        "rows": [
            {
                "symbol": symbol(row.encoder),
                "label": label(row.encoder),
                "role": row.encoder.role,
                "cells": cells(comparison, row),
            }
            for row in comparison.rows
        ],
        "tiles": _tiles(comparison),
        "score_name": comparison.score_name,
        "score_text": comparison.score_text,
        "seeds": comparison.seeds,
        "items": comparison.items,
        "tasks": _task_titles(comparison),
        "classes": _class_tables(page),
        "choices": _choices(evidence),
        "examples": page.examples,
        "drawings": page.drawings,
        "runs": [_run(run) for run in evidence.runs or _evaluations(evidence)],
        "provenance": _artefacts(evidence),
        "versions": versions(),
    }


def _notes(evidence: Evidence) -> list[tuple[str, str]]:
    """Give what a reader must know first, as (heading, text)."""
    notes = []
    if evidence.synthetic:
        measured = "Some of the numbers here were" if evidence.real else "Every number here was"
        notes.append(("Synthetic speech.", f"{measured} {SYNTHETIC}"))
    apart = [task_heading(task) for task in evidence.on_different_data]
    found = {m.heard for m in evidence.measurements}
    if any(found):
        most = max(share for share in found if share)
        notes.append(("Heard in tuning.", f"{HEARD} {heard_text(most)}"))
    if None in found:
        notes.append(("Not known.", NOT_KNOWN_TEXT))
    unlearned = [m for m in evidence.measurements if m.hardly_learned]
    probes = ((task_heading(m.task), label(m.encoder)) for m in unlearned)
    for heading, encoders in by_task(probes).items():
        text = f"{heading}: the probe on {', '.join(encoders)} {HARDLY_LEARNED}"
        notes.append(("A probe that has hardly learned.", text))
    for task, said in evidence.different_probes.items():
        notes.append(("Different probes.", f"{task_heading(task)}: {said}. {OTHER_PROBES}"))
    if apart:
        notes.append(("Different data.", f"{' and '.join(apart)}: {DIFFERENT}"))
    return notes


def _tiles(comparison: Comparison) -> list[dict[str, str]]:
    trio = comparison.trios[:1]
    rows = [trio[0].pretrained, trio[0].finetuned, trio[0].merged] if trio else []
    return [
        {
            "role": row.encoder.role,
            "symbol": symbol(row.encoder),
            "label": label(row.encoder),
            "value": row.score.text(0),
        }
        for row in rows
        if row.score is not None
    ]


def _task_titles(comparison: Comparison) -> dict[str, str]:
    from speechft.tasks import TASKS

    ids = dict.fromkeys(c.task for c in comparison.columns)
    return {task: TASKS[task].title if task in TASKS else task for task in ids}


def _classes(evidence: Evidence) -> list[tuple[str, str, ClassReport]]:
    """Give task, encoder and classes of every encoder and task with classes, of the first seed."""
    from speechft.tasks import TASKS

    found: dict[tuple[str, str], ClassReport] = {}
    for one in evidence.measurements:
        key = one.task, label(one.encoder)
        kept = one.task in TASKS and TASKS[one.task].one_class and key not in found
        references, predictions, folds = answers_of(one.predictions if kept else None)
        if references:
            found[key] = class_report(references, predictions, folds)
    return [(task, encoder, classes) for (task, encoder), classes in found.items()]


def class_files(page: Page) -> dict[str, str]:
    """Give `classes.csv` and `confusion.csv`; nothing where no task has classes."""
    rows: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    reports = [
        ({"task": task, "encoder": encoder, **fold}, one)
        for task, encoder, found in page.classes
        for fold, one in _by_fold(found)
    ]
    for about, found in reports:
        for own, line in zip(found.rows, found.matrix, strict=True):
            rates = {name: round(getattr(own, name), 4) for name in ("precision", "recall", "f1")}
            rows.append({**about, "class": own.name, **rates, "items": own.items})
            counts += [
                {**about, "reference": own.name, "prediction": name, "items": count}
                for name, count in zip(found.names, line, strict=True)
            ]
    return {"classes.csv": csv_text(rows), "confusion.csv": csv_text(counts)} if rows else {}


def _by_fold(found: ClassReport) -> list[tuple[dict[str, Any], ClassReport]]:
    """Give what is of all folds, then each fold, with the column that tells them apart."""
    whole: dict[str, Any] = {"fold": "all"} if found.folds else {}
    return [(whole, found), *(({"fold": n}, one) for n, one in found.folds.items())]


def _class_tables(page: Page) -> list[dict[str, Any]]:
    """Give the confusion matrices that a page has room for."""
    tables = []
    for task, encoder, found in page.classes:
        if len(found.names) > _MOST_CLASSES:
            continue
        texts = [
            f"{TITLES[name]} {value:.1f} {found.intervals[name].text()}"
            for name, value in found.scores.items()
        ]
        tables.append(
            {
                "heading": printable(f"{task_heading(task)}, {encoder}"),
                "text": ", ".join(texts) + (f"; {OF_FOLDS}" if found.folds else ""),
                "names": [printable(name) for name in found.names],
                "rows": [
                    {"row": row, "name": printable(row.name), "counts": counts}
                    for row, counts in zip(found.rows, found.matrix, strict=True)
                ],
            }
        )
    return tables


def _run(run: dict[str, Any]) -> dict[str, Any]:
    recipe = dump_yaml(run.get("recipe", {}))
    given = {"name": "run", "command": "speechft run recipe.yaml", **run}
    shown = {key: printable(str(given[key])) for key in ("name", "command")}
    return {**shown, "recipe_text": recipe}


def _evaluations(evidence: Evidence) -> list[dict[str, Any]]:
    """Give what stands for a recipe where there is none: the evaluations' settings."""
    runs = []
    for folder, made in evidence.provenance.items():
        settings = made.get("settings", {})
        if made.get("stage") != "evaluate":
            continue
        specs = [spec for spec in settings.get("encoders", []) if isinstance(spec, dict)]
        # A sweep is one folder, which stands for all of its points.
        words = ["speechft", "evaluate"]
        words += dict.fromkeys(str(spec.get("path") or spec.get("name")) for spec in specs)
        data = settings.get("data")
        given = [f"{t}={d}" for t, d in data.items()] if isinstance(data, dict) else [data]
        words += [word for one in given for word in ("--data", one)]
        words += ["--tasks", ",".join(map(str, settings.get("tasks", [])))]
        words += [word for seed in settings.get("seeds", []) for word in ("--seed", seed)]
        counts = made.get("depends", settings)  # workers and the like do not
        for name in (n for n in settings if n in counts and n not in _OPTIONS):
            value = settings[name]
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            words += ["--set", f"{name}={text}"]
        command = shlex.join([*map(str, words), "--out", "DIR"])
        where = "" if str(folder) == "." else f" in {folder}"
        runs.append({"name": f"evaluation{where}", "command": command, "recipe": settings})
    return runs


def _artefacts(evidence: Evidence) -> list[dict[str, str]]:
    return [
        {
            "folder": printable(folder),
            "stage": str(made.get("stage", "")),
            "hash": str(made.get("encoder") or made.get("encoder_hash") or "")[:16],
            "parents": ", ".join(f"{k} {str(v)[:12]}" for k, v in made.get("parents", {}).items()),
        }
        for folder, made in evidence.provenance.items()
    ]


def _choices(evidence: Evidence) -> list[dict[str, Any]]:
    """Give every alpha that data chose for a merge: why, and what its neighbours had."""
    found = []
    for folder, made in evidence.provenance.items():
        chosen: Any = made.get("chosen")
        try:
            parts = {name: chosen[name] for name in ("why", "columns", "rows")}
            table = table_of(parts)
            rows = [[cell_text(value) for value in row] for row in parts["rows"]]
        except (KeyError, TypeError):
            continue  # no choice, or none that can be read
        found.append({"folder": printable(folder), **parts, "rows": rows, "table": table})
    return found


def _environment(html: bool) -> jinja2.Environment:
    folder = resources.files("speechft.reporting") / "templates"
    loader = jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=loader,
        autoescape=html,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"markdown": markdown_text, "fenced": fenced, "heading": task_heading}
    return environment
