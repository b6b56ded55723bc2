"""Write the generated parts of docs/: the page of commands, and the tables made from results/.

With `--check` nothing is written; the exit code says whether the pages are up to date.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CLI_PAGE = ROOT / "docs" / "cli.md"
RESULTS_PAGE = ROOT / "docs" / "results.md"
CLI_HEAD = """# Commands

Written by `make docs` from the commands themselves. Every command also answers `--help`.

Exit codes: 0 done, 2 settings or usage, 3 data, 4 checkpoint, 1 anything unexpected, 130 stopped
by Ctrl-C. In front of a command: `-v` says more, `-q` only warnings, `--debug` shows the traceback
of an error.
"""
RESULTS_HEAD = """# Results

Written by `make docs` from the files in `results/`; no number here is typed by hand.
"""


def cli_page() -> str:
    """Give docs/cli.md."""
    os.environ["COLUMNS"] = "80"
    from speechft.cli.app import load_command
    from speechft.cli.commands import COMMANDS

    parts = [CLI_HEAD]
    for entry in COMMANDS:
        command = load_command(entry)
        parts.append(f"## {entry.name}\n")
        if hasattr(command, "commands"):
            parts.append(f"{entry.help}\n")
            for name, inner in command.commands.items():
                parts.append(_command(f"{entry.name} {name}", inner, 3))
        else:
            parts.append(_command(entry.name, command, 0))
    return "\n".join(parts)


def _command(name: str, command: Any, level: int) -> str:
    lines = [f"{'#' * level} {name}\n"] if level else []
    about, _, example = (command.help or "").partition("\n\n")
    lines.append(" ".join(about.split()) + "\n")
    if example.strip():
        lines += ["```sh", *(line.strip() for line in example.strip().splitlines()), "```", ""]
    lines += ["| | |", "| --- | --- |"]
    for parameter in command.params:
        if "--help" in parameter.opts:
            continue
        names = parameter.opts if parameter.opts[0].startswith("-") else [_argument(parameter)]
        shown = ", ".join(f"`{n}`" for n in names)
        needed = " (needed)" if parameter.required and names[0].startswith("-") else ""
        text = re.sub(r"\s+", " ", getattr(parameter, "help", "") or "").replace("|", "\\|")
        lines.append(f"| {shown}{needed} | {text}{_default(parameter)} |")
    return "\n".join([*lines, ""])


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper()
    return f"{name}…" if parameter.nargs == -1 else name


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value is False or callable(value) or value in ((), [], ""):
        return ""
    return "" if "default" in (parameter.help or "") else f" Default: {value}."


def results_page() -> str:
    """Give docs/results.md: one section per folder of results/ that holds a run."""
    from speechft.stages.reporting.comparison import compare
    from speechft.stages.reporting.findings import findings, label, symbol
    from speechft.stages.reporting.page import SYNTHETIC, cells, headings
    from speechft.stages.reporting.records import read_evidence

    parts = [RESULTS_HEAD]
    runs = sorted({p.parent for p in (ROOT / "results").glob("*/run.json")})
    for run in runs:
        evidence = read_evidence([run])
        table = compare(evidence.measurements)
        parts += [f"## {run.name}\n", f"{SYNTHETIC}\n" if evidence.synthetic else ""]
        parts += [f"**{finding.headline}**\n" for finding in findings(table)]
        heads = [f"{task} {metric}" for task, metric in headings(table)]
        parts.append("| encoder | " + " | ".join(heads) + " |")
        parts.append("| --- |" + " ---: |" * len(heads))
        for row in table.rows:
            texts = [f"**{c.text}**" if c.best else c.text for c in cells(table, row)]
            parts.append(f"| {symbol(row.encoder)} {label(row.encoder)} | {' | '.join(texts)} |")
        spread = f"mean ± standard deviation over {len(table.seeds)} seeds"
        about = spread if len(table.seeds) > 1 else "one seed"
        parts.append(f"\nPercent on the test split, {about}. {table.score_text}\n")
        notes = run / "notes.md"
        parts += [notes.read_text(encoding="utf-8")] if notes.is_file() else []
        parts.append(
            f"Recipe: [results/{run.name}/recipe.yaml](../results/{run.name}/recipe.yaml)\n"
        )
    if not runs:
        parts.append("No study has been kept yet.\n")
    return "\n".join([*parts, *_layers()])


def _layers() -> list[str]:
    """Give the table of `scripts/probe_layers.py`, where it was kept."""
    path = ROOT / "results" / "layers.json"
    if not path.is_file():
        return []
    record = json.loads(path.read_text(encoding="utf-8"))
    count = max(len(row) for row in record["layers"].values())
    lines = [
        "## What each layer says about phonemes\n",
        f"{record['what'].capitalize()}; {record['phonemes']} classes with silence, "
        f"`{record['data']}`, {record['train_utterances']} utterances to train on and "
        f"{record['test_utterances']} to test on, seed {record['seed']}. Layer 0 is what the "
        "transformer takes in. Measured by `scripts/probe_layers.py`.\n",
        "| encoder | " + " | ".join(str(n) for n in range(count)) + " |",
        "| --- |" + " ---: |" * count,
    ]
    for name, row in record["layers"].items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in row) + " |")
    return [*lines, ""]


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    importlib.import_module("speechft")
    stale = []
    for path, text in ((CLI_PAGE, cli_page()), (RESULTS_PAGE, results_page())):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"{'out of date' if check else 'written'}: {', '.join(stale)}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
