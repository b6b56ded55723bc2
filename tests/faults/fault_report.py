"""Writes docs/reliability.md from what `make faults` has kept: `python fault_report.py KEPT`.

Without KEPT, the rows stay as they were, and the part about fuzzing is written anew, from
results/fuzzing.json, where `make fuzz` keeps what came of it.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = _ROOT / "docs" / "reliability.md"
FUZZED: Final = _ROOT / "results" / "fuzzing.json"
KINDS: Final = {
    "encoders": "ENCODERs that are missing, empty, cut short, flipped, zeroed or hostile",
    "data": "DATA that is missing, damaged, no data, or would run or fetch something",
    "unusual data": "data that is unusual and right: taken, or refused by name",
    "settings": "options, settings files, recipes and studies that are wrong",
    "places": "outputs where nothing can be written, behind links, among a user's own files",
    "fuzzed": "seeded fuzzers of all that is read, 25 inputs a row",
    "stopped": "Ctrl-C, SIGTERM, kill -9 and the same command again, two at once",
}
ABOUT: Final = """# Reliability

What is wrong is said in one message, with an exit code and a next step, and nothing of yours is
lost. A table of faults in [tests/faults](../tests/faults) tests this: each row is a command and
something that is wrong. A row holds if

- there is no traceback, and the exit code is the stated one: 2 settings, 3 data, 4 checkpoint,
  130 Ctrl-C, 143 SIGTERM; 1 for a disk that is full;
- the message names a next step, or what was expected;
- no file that was there is gone or changed, and nothing that was read has run;
- it takes less than ten seconds of computing.

`make faults` runs all rows and writes this page. A seeded sample of {sample} rows runs with the
other tests.

| kind | rows | hold | what is wrong |
| --- | ---: | ---: | --- |
{table}

{date}: {total} rows, {held} hold.
"""

FUZZING: Final = """
## Fuzzed for longer

`make fuzz` reads for twenty minutes each of what others may have written or something may have
damaged: a good file, with some bytes or values made wrong. Each input must be taken or refused:
no crash, no more than ten seconds, no growth of the process beyond {growth} MB after the first
tenth of the time, and what is taken of states, hidden states and headers is what was written. A
finding is mended, its kind becomes a test, and the target is fuzzed again.

| what is read | date | minutes | inputs | refused | slowest, s | growth, MB | findings |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |
{table}
"""


def fuzzing(kept: Mapping[str, Mapping[str, Any]], growth: int) -> str:
    """Give the part of the page about what was fuzzed for longer.

    Args:
        kept: target → what came of it.
        growth: MB that a process may grow by.
    """
    rows = [
        f"| {target} | {r['date']} | {r['seconds'] / 60:.1f} | {r['inputs']} | {r['refused']} "
        f"| {r['slowest']:.2f} | {max(r['grew_mb'], 0):.1f} | "
        f"{r['finding'].partition(chr(10))[0][:100].replace('|', '/') or 'none'} |"
        for target, r in kept.items()
    ]
    return FUZZING.format(table="\n".join(rows), growth=growth) if rows else ""


def page(lines: list[str], date: str, sample: int) -> str:
    """Give the page.

    Args:
        lines: one JSON record per row.
        date: of the run.
        sample: rows that run with the other tests.
    """
    records = [json.loads(line) for line in lines]
    rows = Counter(record["kind"] for record in records)
    held = Counter(record["kind"] for record in records if not record["found"])
    table = [f"| {k} | {rows[k]} | {held[k]} | {text} |" for k, text in KINDS.items() if rows[k]]
    failed = [r for r in records if r["found"]]
    text = ABOUT.format(
        table="\n".join(table), date=date, total=len(records), held=held.total(), sample=sample
    )
    names = [f"- {r['kind']}, `{r['name'][:80]}`: {'; '.join(r['found'])[:100]}" for r in failed]
    return text + ("\nWhat does not hold:\n\n" + "\n".join(names) + "\n" if failed else "")


if __name__ == "__main__":
    from fault_fuzz import MOST_GROWTH

    text = PAGE.read_text(encoding="utf-8").partition(FUZZING[:10])[0]
    if sys.argv[1:]:
        lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
        text = page(lines, datetime.date.today().isoformat(), 60)
    kept = json.loads(FUZZED.read_text(encoding="utf-8")) if FUZZED.exists() else {}
    PAGE.write_text(text + fuzzing(kept, MOST_GROWTH), encoding="utf-8")
