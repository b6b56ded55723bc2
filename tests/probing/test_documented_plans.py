"""The numbers in docs/tasks.md are those of the plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.settings import parse_settings
from speechft.probing.protocol import plan_for
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS

PUBLISHED = [task for task, kind in TASKS.items() if kind.published]

DOCS = Path(__file__).parents[2] / "docs" / "tasks.md"


def documented() -> dict[str, list[str]]:
    _, _, section = DOCS.read_text().partition("## Numbers\n")
    section, _, _ = section.partition("\n## ")
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:3] == "| `"]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_every_trained_task_of_superb_is_documented():
    assert set(documented()) == set(PUBLISHED)


@pytest.mark.parametrize("protocol", ["clean", "s3prl"])
@pytest.mark.parametrize("task", sorted(PUBLISHED))
def test_documented_numbers_are_those_of_the_plan(task, protocol):
    values = {"encoders": ("x",), "data": "x", "out": "x", "tasks": (task,), "head_size": "superb"}
    settings = parse_settings(EvaluateSettings, values | {"protocol": protocol}, where="test")
    plan = plan_for(task, settings)
    steps, batch, rates, optimiser, clip, _ = documented()[task]
    assert int(steps.replace(",", "")) == plan.steps
    assert int(batch) == plan.batch_size * plan.accumulate
    span, _, further = rates.partition(", and ")
    first, _, last = span.partition(" to ")
    powers = [rate for rate in plan.rates if f"{rate:.0e}".startswith("1e")]
    assert (float(first), float(last)) == (powers[0], powers[-1])
    assert [float(r) for r in further.split()] == [r for r in plan.rates if r not in powers]
    assert ("AdamW" in optimiser) == bool(plan.weight_decay)
    assert str(plan.weight_decay) in optimiser or not plan.weight_decay
    assert float(clip) == plan.clip
    assert not plan.decay
