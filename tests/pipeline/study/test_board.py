"""Jobs are handed out in order, each once; nothing that can be done is waited for."""

from __future__ import annotations

from pathlib import Path

from speechft.pipeline.study.board import Board
from speechft.pipeline.study.jobs import DONE, Job
from speechft.pipeline.study.pace import Pace


def job(folder: Path, name: str, *parents: Job, part: Job | None = None) -> Job:
    return Job(name, "evaluate", {}, folder / name, name, tuple(p.folder for p in parents), part)


class Crew:
    """A board that is asked by one thread, with all that it says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.board = Board(self.said.append)

    def ready(self) -> str:
        """Take the next job; none where a thread would have to wait."""
        found = self.board._ready()
        if found is None:
            return ""
        taken = self.board.next()
        assert taken is found
        return taken.name


def test_spare_jobs_are_for_those_who_would_wait(tmp_path: Path) -> None:
    a = job(tmp_path, "a")
    b, c = job(tmp_path, "b", a), job(tmp_path, "c")
    crew = Crew()
    crew.board.offer([a, b], [c])
    assert [crew.ready(), crew.ready(), crew.ready()] == ["a", "c", ""]
    crew.board.end(c, None)
    crew.board.end(a, None)
    assert not crew.board.wait(0)
    assert crew.ready() == "b"
    crew.board.end(b, None)
    assert crew.board.wait(0)
    assert crew.said == ["[ahead] evaluate c", "[1/2] evaluate a", "[2/2] evaluate b"]


def test_no_spare_job_is_begun_when_all_is_done_that_was_wanted(tmp_path: Path) -> None:
    a, b = job(tmp_path, "a"), job(tmp_path, "b")
    crew = Crew()
    crew.board.offer([a], [b])
    assert crew.ready() == "a"
    crew.board.end(a, None)
    assert crew.ready() == ""
    crew.board.offer([b])
    assert crew.ready() == "b"


def test_a_spare_job_under_way_is_waited_for_when_it_is_wanted(tmp_path: Path) -> None:
    a, b = job(tmp_path, "a"), job(tmp_path, "b")
    crew = Crew()
    crew.board.offer([a], [b])
    assert [crew.ready(), crew.ready()] == ["a", "b"]
    crew.board.end(a, None)
    assert crew.board.wait(0)
    crew.board.offer([b])
    assert not crew.board.wait(0)
    assert crew.ready() == ""
    crew.board.end(b, None)
    assert crew.board.wait(0)
    assert crew.said[-1] == "[1/1] evaluate b"


def test_a_whole_takes_the_place_of_its_part(tmp_path: Path) -> None:
    """It does not wait behind the other spare jobs, and its part is done with it."""
    part = job(tmp_path, "part")
    other, whole = job(tmp_path, "other"), job(tmp_path, "whole", part=part)
    crew = Crew()
    crew.board.offer([part], [other, whole])
    assert [crew.ready(), crew.ready(), crew.ready()] == ["whole", "other", ""]
    crew.board.end(whole, None)
    assert crew.board.wait(0)


def test_a_part_of_a_whole_that_fails_is_done_alone(tmp_path: Path) -> None:
    part = job(tmp_path, "part")
    whole = job(tmp_path, "whole", part=part)
    for diverged in (False, True):
        crew = Crew()
        crew.board.offer([part], [whole])
        assert [crew.ready(), crew.ready()] == ["whole", ""]
        crew.board.end(whole, "no", diverged)
        assert crew.ready() == "part"


def test_parts_of_parts_and_of_two_wholes_wait_for_one_alone(tmp_path: Path) -> None:
    small = job(tmp_path, "small")
    middle = job(tmp_path, "middle", part=small)
    large = job(tmp_path, "large", part=job(tmp_path, "middle"))
    crew = Crew()
    crew.board.offer([small, middle, large])
    assert [crew.ready(), crew.ready()] == ["large", ""]
    crew.board.end(large, None)
    assert crew.ready() == "small"
    crew.board.end(small, None)
    assert crew.board.wait(0)
    crew = Crew()
    crew.board.offer([small, middle], [job(tmp_path, "another", part=small)])
    assert crew.ready() == "middle"
    crew.board.end(middle, None)
    assert crew.board.wait(0)


def test_what_has_failed_and_what_needs_it_is_not_handed_out_again(tmp_path: Path) -> None:
    a = job(tmp_path, "a")
    b, c = job(tmp_path, "b", a), job(tmp_path, "c")
    crew = Crew()
    crew.board.offer([a, b, c])
    assert crew.ready() == "a"
    crew.board.end(a, "no disk")
    assert crew.ready() == "c"
    crew.board.end(c, None)
    assert crew.board.wait(0)
    crew.board.offer([a, b])
    assert crew.ready() == ""
    assert crew.board.wait(0)
    outcome = crew.board.outcome
    assert [one.name for one in outcome.skipped] == ["b"]
    assert [(one.name, error) for one, error in outcome.failed] == [("a", "no disk")]
    assert crew.said == ["[2/3] evaluate a FAILED: no disk", "[3/3] evaluate c"]


def test_what_is_done_already_is_not_handed_out(tmp_path: Path) -> None:
    a, b = job(tmp_path, "a"), job(tmp_path, "b")
    a.folder.mkdir()
    (a.folder / DONE).touch()
    crew = Crew()
    crew.board.offer([a, b])
    assert [crew.ready(), crew.ready()] == ["b", ""]


def test_a_closed_board_hands_out_nothing(tmp_path: Path) -> None:
    crew = Crew()
    crew.board.offer([job(tmp_path, "a")])
    crew.board.close()
    assert crew.board.next() is None


def test_how_long_the_rest_will_take_is_said(tmp_path: Path) -> None:
    now = [0.0]
    crew = Crew()
    crew.board._pace = Pace(1, lambda: now[0])
    a, b, c = (job(tmp_path, name) for name in "abc")
    crew.board.offer([a, b], [c])
    assert crew.ready() == "a"
    now[0] = 300.0
    crew.board.end(a, None)
    assert crew.said == ["[1/2] evaluate a, about 5 min left"]


def test_the_time_left_for_a_part_is_that_of_its_whole(tmp_path: Path) -> None:
    now = [0.0]
    crew = Crew()
    crew.board._pace = Pace(2, lambda: now[0])
    part = job(tmp_path, "part")
    first, whole = job(tmp_path, "first"), job(tmp_path, "whole", part=part)
    crew.board.offer([first, part], [whole])
    assert {crew.ready(), crew.ready()} == {"first", "whole"}
    now[0] = 300.0
    crew.board.end(first, None)
    assert crew.said == ["[1/2] evaluate first"]  # the whole has been under way for as long
