"""Compare what two kept studies have measured of the same encoders, each in a run of its own.

python scripts/repeats.py results/studies/ONE results/studies/OTHER

Encoders are the same where the job that made them is: the same settings, parents and seed.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

Key = tuple[str, int]


def repeats(one: Path, other: Path) -> dict[str, float]:
    """Give how many values both have, how many are equal, and how far the scores are apart."""
    from speechft.metrics.statistics import finite_mean

    first, second = _values(one), _values(other)
    shared = sorted(set(first) & set(second))
    pairs = [
        (first[key][column], second[key][column])
        for key in shared
        for column in sorted(set(first[key]) & set(second[key]))
        if not column.startswith("score")
    ]
    apart = [second[k]["score"] - first[k]["score"] for k in shared]
    return {
        "encoders": len(shared),
        "values": len(pairs),
        "equal": sum(a == b for a, b in pairs),
        "mean": finite_mean(apart),
        "rms": math.sqrt(finite_mean(x * x for x in apart)),
    }


def _values(folder: Path) -> dict[Key, dict[str, float]]:
    """Give the values of every encoder and seed: "task metric" → percent, and the score."""
    from speechft.reporting.study.files import read_study

    study, table, _, about = read_study(folder)
    found: dict[Key, dict[str, float]] = {}
    for row in study.rows:
        name, _, part = (about["chosen"].get(row.name) or str(row.encoder)).partition("/")
        for seed in study.seeds:
            made = about["jobs"].get(f"{name}, seed {seed}") or study.encoders.get(name)
            columns = table.rows.get(row.name, {})
            values = {c: seeds[seed] for c, seeds in columns.items() if seed in seeds}
            if made is not None and "score" in values:
                found[f"{made}/{part}", seed] = values
    return found


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    found = repeats(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(
        f"{found['encoders']} encoders and seeds in both; {found['equal']} of {found['values']} "
        "values the same bit for bit; score of the second minus that of the first "
        f"{found['mean']:+.1f}, rms {found['rms']:.1f}\n"
    )
