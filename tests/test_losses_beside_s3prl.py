"""`protocol: s3prl` has S3PRL's losses, as a record of results/ says, and a page after it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from speechft.probing.settings import SUITES
from speechft.tasks import TASKS

ROOT = Path(__file__).parent.parent
RECORD = json.loads((ROOT / "results/benchmarks/losses.json").read_text("utf-8"))
SUPERB_TASKS = SUITES["superb10"].tasks
PAGE = (ROOT / "docs/explanation/published-numbers.md").read_text("utf-8")


@pytest.mark.parametrize("task", SUITES["superb10"].tasks)
def test_losses_are_s3prls(task: str) -> None:
    found = RECORD["tasks"][task]["exact"]
    assert found["largest_difference"] <= RECORD["tolerance"] == 1e-4
    assert found["equal"]
    if not TASKS[task].trains:
        return
    ours, theirs = found["losses"]["ours"], found["losses"]["s3prl"]
    assert found["batches_alike"]
    assert ours == pytest.approx(theirs, rel=1e-4)
    published = TASKS[task].published
    assert published is not None
    assert len(theirs) >= 2 * published.accumulate  # the second update's loss knows the first


def test_the_page_says_the_figures_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    sys.modules.pop("pages", None)
    from pages.benchmarks import published_figures

    figures: dict[str, Any] = published_figures(RECORD)
    table = re.sub(r"\s+", " ", PAGE.partition("## What will differ")[2])
    absent = {name: figure for name, figure in figures.items() if figure not in table}
    assert not absent


def test_every_encoder_was_compared_on_every_task() -> None:
    """What the padding of encoders with a group norm does to each task, and both kinds of crops."""
    for task in SUPERB_TASKS:
        assert {"exact", "group norm", "group norm, HuBERT"} <= set(RECORD["tasks"][task])
    assert {"qbe-8k", "sid-crops", "asv-crops", "slots"} <= set(RECORD["tasks"])


def test_the_page_says_what_group_norm_does_to_each_task() -> None:
    (row,) = [line for line in PAGE.splitlines() if "in the group norm of Base models" in line]
    for task in SUPERB_TASKS:
        if TASKS[task].trains:
            apart = 100 * RECORD["tasks"][task]["group norm"]["largest_difference"]
            said = re.search(rf"\b{task.upper()} ([\d.]+)", row)
            assert said is not None or apart == pytest.approx(0.91, abs=0.005)
            if said is not None:
                assert float(said[1]) == pytest.approx(apart, rel=0.05, abs=5e-5)
