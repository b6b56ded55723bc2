"""A leaderboard for people: a table in 80 columns for the terminal, and one in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from speechft.core.escaping import markdown_text, printable, task_heading
from speechft.metrics.measures import TITLES, direction
from speechft.metrics.statistics import SeedValues
from speechft.reporting.comparison import ARROWS
from speechft.reporting.leaderboard.ranking import Leaderboard, LeaderboardRow, Metric
from speechft.reporting.measurements import HEARD, NOT_KNOWN, NOT_KNOWN_TEXT, heard_text

PUBLISHED: Final = "§"
_SHORT: Final = {"slot_type_f1": "F1", "slot_value_cer": "CER", "min_dcf": "DCF"}
# Right of ASR's WER; with the task's name in front they would touch it.
_ALONE: Final = {"cer": "CER", "wer_lm": "+LM", "cer_lm": "CER+LM"}
_NAME, _CELL, _WIDTH = 26, 8, 80
HEADING: Final = "# Leaderboard: "


def terminal_text(board: Leaderboard) -> str:
    """Give the board in lines of at most 80 columns; what does not fit follows below."""
    lines = [f"{board.suite}: {board.title}", ""]
    heads = [board.score_name.removeprefix("Suite ").strip(), *map(_short_title, board.columns)]
    per_block = (_WIDTH - 4 - _NAME) // _CELL
    for start in range(0, len(heads), per_block):
        chosen = range(start, min(start + per_block, len(heads)))
        lines.append(" " * (4 + _NAME) + "".join(f"{heads[n]:>{_CELL}}" for n in chosen))
        for rank, row in enumerate(board.ranked, start=1):
            place = f"{rank:>3} " if row.score is not None else "  – "
            lines.append(place + _line(board, row, chosen))
        if board.apart:
            lines.append("    not ranked:")
            lines += ["    " + _line(board, row, chosen) for row in board.apart]
        lines.append("")
    if board.sources:
        lines.append(f"{PUBLISHED} published, not measured here: see the Markdown file for sources")
    lines += [line for note in _notes(board) for line in textwrap.wrap(note, _WIDTH)]
    lines += [f"{printable(row.name)}: {row.why_apart}" for row in board.apart]
    return "\n".join(lines).rstrip() + "\n"


def markdown(board: Leaderboard) -> str:
    """Give the board as Markdown, with sources and spreads."""
    titles = [f"{task_heading(t)} {TITLES[m]} {ARROWS[direction(m)]}" for t, m in board.columns]
    heads = ["", "encoder", f"{board.score_name} ↑", *titles]
    lines = [
        f"{HEADING}{board.suite}",
        "",
        f"{board.title[:1].upper()}{board.title[1:]}.",
        "",
    ]
    lines += [_row(heads), _row(["---"] * 2 + ["---:"] * (len(heads) - 2))]
    for rank, row in enumerate(board.ranked, start=1):
        lines.append(_row([str(rank) if row.score is not None else "–", *_cells(board, row)]))
    if board.apart:
        lines += ["", "Not ranked:", "", _row(heads), _row(["---"] * len(heads))]
        lines += [_row(["", *_cells(board, row)]) for row in board.apart]
        lines += ["", *(f"- {markdown_text(row.name)}: {row.why_apart}" for row in board.apart)]
    lines += [line for note in _notes(board) for line in ("", note)]
    lines += ["", board.score_text]
    if board.sources:
        lines += [
            "",
            f"{PUBLISHED} Published, not measured here, under S3PRL's protocol. Sources:",
            "",
        ]
        for source in board.sources:
            names = [row.name for row in board.ranked if row.source == source]
            lines.append(f"- {', '.join(sorted(names))}: {source}.")
    return "\n".join(lines) + "\n"


def _notes(board: Leaderboard) -> list[str]:
    """Give notes on synthetic speech, and on the marks that something bears."""
    shares = [share for row in board.apart for share in row.heard.values()]
    made = ", ".join(task_heading(task) for task in board.synthetic)
    notes = [f"Measured on synthetic speech (eSpeak NG): {made}."] if made else []
    notes += [f"{HEARD} {heard_text(max(shares))}"] if shares else []
    unknown = any(row.unknown for row in (*board.ranked, *board.apart))
    return notes + ([f"{NOT_KNOWN} {NOT_KNOWN_TEXT}"] if unknown else [])


def _line(board: Leaderboard, row: LeaderboardRow, chosen: Sequence[int]) -> str:
    name = printable(f"{row.name} {PUBLISHED}" if row.source else row.name)
    if len(name) > _NAME:
        name = "…" + name[-(_NAME - 1) :]
    values = [_score(row)]
    values += [_plain(row, metric) for metric in board.columns]
    return f"{name:<{_NAME}}" + "".join(f"{values[n]:>{_CELL}}" for n in chosen)


def _plain(row: LeaderboardRow, metric: Metric) -> str:
    mean = row.mean(metric)
    return "–" if mean is None else f"{mean:.2f}{row.mark(metric[0])}"


def _score(row: LeaderboardRow) -> str:
    return "–" if row.score is None else f"{row.score:.1f}{row.mark()}"


def _cells(board: Leaderboard, row: LeaderboardRow) -> list[str]:
    name = (
        f"{markdown_text(row.name)} {PUBLISHED}" if row.source else f"**{markdown_text(row.name)}**"
    )
    return [name, _score(row), *(_spread(row, metric) for metric in board.columns)]


def _spread(row: LeaderboardRow, metric: Metric) -> str:
    values = row.values.get(metric)
    return SeedValues(tuple(values)).text(2) + row.mark(metric[0]) if values else "–"


def _short_title(metric: Metric) -> str:
    task, name = metric
    if name in _ALONE:
        return f"{_ALONE[name]}{ARROWS[direction(name)]}"
    short = f" {_SHORT[name]}" if name in _SHORT else ""
    return f"{task_heading(task)}{short}{ARROWS[direction(name)]}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
