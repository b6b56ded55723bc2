"""Every fault ends in one message with its exit code and a next step, and loses nothing.

A seeded sample runs with the other tests; all of it with `make faults`, which sets
`SPEECHFT_FAULTS=all` and writes docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from fault_fuzz import MOST_GROWTH, TARGETS, Reading, read_for
from fault_report import KINDS, fuzzing, page
from fault_rows import Row, rows
from fault_world import build, copy_of

ALL = rows()
SAMPLE = 60
FOUND: dict[str, list[str]] = {"a": [], "b": ["x"]}
_everything = os.environ.get("SPEECHFT_FAULTS") == "all"
_drawn = [row for row in ALL if row.kind != "stopped"]
_chosen = ALL if _everything else random.Random(21).sample(_drawn, SAMPLE)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("faults") / "world")


@pytest.mark.parametrize("row", _chosen, ids=lambda row: f"{row.kind}: {row.name[:90]}")
def test_fault(row: Row, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy_of(world, tmp_path / "w"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    outcome = row.do()
    found = [one for one in outcome.faults(row.expects) if not one.startswith(_may_change(row))]
    if (tmp_path / "w" / "ran").exists():
        found.append("a command of the input has run")
    _keep(row, found, outcome.text)
    assert not found, f"{found}\n{outcome.text[-1500:]}"


def _may_change(row: Row) -> tuple[str, ...]:
    return tuple(f"lost {name}" for name in row.changes) or ("nothing",)


def _keep(row: Row, found: list[str], text: str) -> None:
    """Write down what came of it, for the page."""
    kept = os.environ.get("SPEECHFT_FAULTS_KEPT")
    if kept:
        line = {"kind": row.kind, "name": row.name, "found": found, "text": text[-600:]}
        with Path(kept).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def test_the_page_counts_rows_by_kind() -> None:
    kept = [
        {"kind": "data", "name": "a", "found": []},
        {"kind": "data", "name": "b", "found": ["x"]},
    ]
    text = page([json.dumps(one) for one in kept], "2026-01-01", SAMPLE)
    assert "| data | 2 | 1 |" in text
    assert "- data, `b`: x" in text
    assert {row.kind for row in ALL} == KINDS.keys()


def test_the_table_is_large_and_its_names_differ() -> None:
    names = Counter((row.kind, row.name) for row in ALL)
    assert len(ALL) >= 400
    assert not [name for name, times in names.items() if times > 1]
    assert len({row.kind for row in ALL}) >= 7


def test_the_page_says_what_was_fuzzed_for_longer() -> None:
    read = Reading("2026-01-01", 7, 1200.0, 500, 480, 0.25, -0.1)
    crash = Reading("2026-01-02", 7, 60.0, 9, 8, 0.1, 0.0, "seed 7, input 9: KeyError: 'x'\nat y")
    text = fuzzing({"table": asdict(read), "cuts": asdict(crash)}, MOST_GROWTH)
    assert "| table | 2026-01-01 | 20.0 | 500 | 480 | 0.25 | 0.0 | none |" in text
    assert "| 0.10 | 0.0 | seed 7, input 9: KeyError: 'x' |" in text
    assert not fuzzing({}, MOST_GROWTH)


@pytest.mark.parametrize("target", TARGETS)
def test_a_fuzzer_finds_what_crashes(
    target: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_of(world, tmp_path / "w"))
    calls: list[str] = []

    def read() -> None:
        calls.append("")
        if len(calls) > 3:
            raise KeyError("x")

    monkeypatch.setitem(TARGETS, target, replace(TARGETS[target], read=read))
    found = read_for(target, 5, 1e9, range(9))
    assert (found.inputs, found.refused) == (3, 0)
    assert found.finding.startswith("seed 5, input 2: KeyError: 'x'\nTraceback")
