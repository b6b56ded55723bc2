"""docs/results.md, from results/: runs that were kept, what each layer knows, benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

from pages.benchmarks import benchmarks

RESULTS_HEAD = """# Results

Written by `make docs` from the files in `results/`; no number here is typed by hand.
"""


def results_page(root: Path) -> str:
    """Give docs/results.md: one section per folder of results/ that holds a run."""
    from speechft.reporting.comparison import compare
    from speechft.reporting.findings import findings, label, symbol
    from speechft.reporting.page import SYNTHETIC, cells, headings
    from speechft.reporting.read_results import read_evidence

    parts = [RESULTS_HEAD]
    runs = sorted({p.parent for p in (root / "results").glob("*/run.json")})
    for run in runs:
        evidence = read_evidence([run])
        table = compare(evidence.measurements)
        parts += [
            f"## {run.name}\n",
            f"{SYNTHETIC[:1].upper()}{SYNTHETIC[1:]}\n" if evidence.synthetic else "",
        ]
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
        measured = "".join(
            f"Measured with commit `{one['commit']}`. " for one in evidence.runs if "commit" in one
        )
        parts.append(
            f"{measured}Recipe: "
            f"[results/{run.name}/recipe.yaml](../results/{run.name}/recipe.yaml)\n"
        )
    if not runs:
        parts.append("No study has been kept yet.\n")
    return "\n".join([*parts, *_layers(root), *benchmarks(root)])


def _layers(root: Path) -> list[str]:
    """Give the table of `scripts/probe_layers.py`, where it was kept."""
    path = root / "results" / "layers.json"
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
