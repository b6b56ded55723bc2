"""What is said of the time that is left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from speechft.pipeline.graph import Job
from speechft.pipeline.time_left import Pace


def job(name: str, verb: str = "evaluate", tasks: int = 4) -> Job:
    settings: Any = SimpleNamespace(tasks=["pr"] * tasks, steps=0, out=Path(name))
    return Job(name, verb, settings, name, ())


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


def done(pace: Pace, watch: Watch, seconds: float, *jobs: Job, well: bool = True) -> None:
    """Do jobs beside each other."""
    for one in jobs:
        pace.begin(one)
    watch.now += seconds
    for one in jobs:
        pace.end(one, well)


def test_nothing_is_said_of_what_has_not_been_seen(watch: Watch) -> None:
    pace = Pace(2, watch)
    assert pace.left([job("a")]) == ""
    done(pace, watch, 5, job("m", "merge"))
    assert pace.left([job("a"), job("b"), job("n", "merge")]) == ""
    done(pace, watch, 900, job("c"), well=False)
    assert pace.left([job("a")]) == ""


def test_what_is_left_goes_by_kind_and_by_as_many_as_work_together(watch: Watch) -> None:
    pace = Pace(2, watch)
    done(pace, watch, 120, job("a"), job("b"))
    done(pace, watch, 600, job("f", "finetune"), job("g", "finetune"))
    left = [job("c"), job("d"), job("h", "finetune"), job("i", "finetune")]
    assert pace.left(left) == ", about 12 min left"
    assert pace.left(left * 7) == ", about 1 h 24 min left"
    assert pace.left(left[:1]) == ", about 2 min left"  # one is enough
    # A kind that has not been seen is taken for the nearest one, or for the longest.
    assert pace.left([job("c"), job("e", tasks=7)]) == ", about 2 min left"
    assert pace.left([job("c"), job("p", "pretrain")]) == ", about 6 min left"


def test_what_is_under_way_counts_for_what_it_still_takes(watch: Watch) -> None:
    pace = Pace(2, watch)
    done(pace, watch, 300, job("a"))
    pace.begin(job("b"))
    watch.now += 100
    assert pace.left([job("b")]) == ", about 3 min left"
    watch.now += 1000  # longer than usual
    assert pace.left([job("b")]) == ""
