"""Progress moves without a terminal, too: lines now and then, with how long is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from speechft.core.logging import set_up_logging
from speechft.core.progress import ProgressLines, progress_bar, time_text


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    set_up_logging(0)
    return lambda: capsys.readouterr().err.splitlines()


def test_a_line_after_ten_seconds_and_every_thirty_says_what_is_left(said: Callable[[], list[str]]):
    now = [0.0]
    with ProgressLines(lambda: now[0]) as bar:
        line = bar.add_task("train", total=600, completed=100, note="")
        for second in range(1, 101):
            now[0] = second
            bar.update(line, completed=100 + 2 * second, note=f"loss {100 - second}")
    assert said() == [
        "train: 120 of 600, loss 90, about 4 min left",
        "train: 180 of 600, loss 60, about 4 min left",
        "train: 240 of 600, loss 30, about 3 min left",
        "train: 300 of 600, loss 0, about 2 min left",
    ]


def test_what_is_soon_done_and_what_is_over_say_nothing(said: Callable[[], list[str]]):
    now = [0.0]
    bar = ProgressLines(lambda: now[0])
    line = bar.add_task("embed", total=3, note="")
    now[0] = 9.0
    bar.advance(line, 2)
    now[0] = 60.0
    bar.advance(line)
    assert not said()


def test_lines_grow_rare_in_long_work(said: Callable[[], list[str]]):
    now = [0.0]
    bar = ProgressLines(lambda: now[0])
    line = bar.add_task("train", total=36_001, note="")
    for second in range(36_000):
        now[0] = second
        bar.update(line, completed=second)
    assert 60 < len(said()) < 120


def test_a_quiet_command_has_no_lines(said: Callable[[], list[str]]):
    set_up_logging(-1)
    now = [0.0]
    bar = ProgressLines(lambda: now[0])
    line = bar.add_task("train", total=3, note="")
    now[0] = 90.0
    bar.advance(line)
    assert not said()


def test_lines_stand_for_the_bar_where_there_is_no_terminal():
    assert isinstance(progress_bar(), ProgressLines)


def test_lengths_of_time_promise_no_more_than_minutes():
    texts = [time_text(seconds) for seconds in (3, 61, 3599, 7500)]
    assert texts == ["less than a minute", "about 1 min", "about 1 h 0 min", "about 2 h 5 min"]


def test_few_pieces_say_nothing_of_the_rest(said: Callable[[], list[str]]):
    now = [0.0]
    bar = ProgressLines(lambda: now[0])
    line = bar.add_task("evaluate", total=18, note="")
    for minute in (1, 2, 3, 4, 5):
        now[0] = 60.0 * minute
        bar.advance(line)
    *first, last = said()
    assert first == [f"evaluate: {count} of 18" for count in (1, 2, 3, 4)]
    assert last == "evaluate: 5 of 18, about 13 min left"
