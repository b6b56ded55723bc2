"""Jobs are handed out in order, each once; nothing that can be done is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from speechft.core.errors import CheckpointError, SpeechFTError
from speechft.core.files import read_json
from speechft.pipeline import execution
from speechft.pipeline.execution import Crew, Outcome, raise_failures
from speechft.pipeline.graph import Job, note_of
from speechft.pipeline.time_left import Pace

MISTAKE = {"error": {"error": "CheckpointError", "what": "no disk", "where": None,
                     "expected": None, "found": None, "hint": None}}  # fmt: skip


def job(folder: Path, name: str, *parents: Job) -> Job:
    settings: Any = SimpleNamespace(out=folder / name, model_dump=lambda include: {})
    return Job(name, "evaluate", settings, name, tuple(p.folder for p in parents))


class Workers:
    """Stands for other processes; jobs end one by one, in the order in which they began."""

    def __init__(self, workers: int, answers: Mapping[str, Any]) -> None:
        self.workers, self.answers = workers, answers
        self.begun: list[str] = []
        self.seconds, self.now = 0.0, 0.0

    def submit(self, _: Any, name: str, threads: int) -> Future[Any]:
        self.begun.append(name)
        return Future()

    def wait(self, running: Mapping[Future[Any], Job], **_: Any) -> tuple[list[Any], list[Any]]:
        first = next(iter(running))
        self.now += self.seconds
        answer = self.answers.get(running[first].name, {})
        if isinstance(answer, Exception):
            first.set_exception(answer)
        else:
            first.set_result(answer)
        return [first], []


class Trial:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int, **answers: Any) -> None:
        self.workers, self.said = Workers(workers, answers), list[str]()
        monkeypatch.setattr(execution, "wait", self.workers.wait)
        monkeypatch.setattr(execution, "order_for", lambda one, replace: one.name)
        given: Any = self.workers
        self.crew = Crew(given, note=self.said.append, divergence=True)

    @property
    def begun(self) -> list[str]:
        return self.workers.begun


def test_spare_jobs_are_for_those_who_would_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(monkeypatch, 2)
    a = job(tmp_path, "a")
    trial.crew.do([a, job(tmp_path, "b", a)], [job(tmp_path, "c")])
    assert trial.begun == ["a", "c", "b"]
    assert trial.said == ["[1/2] evaluate a", "[ahead] evaluate c", "[2/2] evaluate b"]


def test_no_spare_job_is_begun_when_all_is_done_that_was_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(monkeypatch, 1)
    a, b = job(tmp_path, "a"), job(tmp_path, "b")
    trial.crew.do([a], [b])
    assert trial.begun == ["a"]
    trial.crew.do([b])
    assert trial.begun == ["a", "b"]


def test_a_spare_job_under_way_is_waited_for_when_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(monkeypatch, 2)
    a, b = job(tmp_path, "a"), job(tmp_path, "b")
    trial.crew.do([a], [b])
    assert trial.said == ["[1/1] evaluate a"]
    trial.crew.do([b])
    assert trial.begun == ["a", "b"]
    assert trial.said[-1] == "[1/1] evaluate b"


def test_what_has_failed_and_what_needs_it_is_not_handed_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(monkeypatch, 1, a=MISTAKE)
    a = job(tmp_path, "a")
    b, c = job(tmp_path, "b", a), job(tmp_path, "c")
    trial.crew.do([a, b, c])
    trial.crew.do([a, b])
    assert trial.begun == ["a", "c"]
    first, last = trial.said
    assert first.startswith("[2/3] evaluate a FAILED: no disk\n  next: ")
    assert last == "[3/3] evaluate c"
    assert [one.name for one in trial.crew.outcome.skipped] == ["b"]
    with pytest.raises(CheckpointError, match="no disk"):
        raise_failures(trial.crew.outcome, tmp_path, "jobs")


def test_a_process_that_died_fails_its_job_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(monkeypatch, 2, a=OSError(28, "No space left on device"), b=MISTAKE)
    trial.crew.do([job(tmp_path, name) for name in "abc"])
    assert trial.begun == ["a", "b", "c"]
    with pytest.raises(SpeechFTError, match=r"2 jobs failed[\s\S]*No space[\s\S]*no disk"):
        raise_failures(trial.crew.outcome, tmp_path, "jobs")
    raise_failures(Outcome(), tmp_path, "jobs")


def test_what_diverged_is_noted_and_what_needs_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(monkeypatch, 1, a={**MISTAKE, "diverged": True})
    a = job(tmp_path, "a")
    trial.crew.do([a, job(tmp_path, "b", a)])
    assert trial.said == ["[2/2] evaluate a diverged"]
    noted = read_json(note_of(a.folder))
    assert (noted["key"], noted["diverged"].splitlines()[0]) == ("a", "no disk")
    assert [one.name for one in trial.crew.outcome.diverged] == ["a", "b"]
    assert not trial.crew.outcome.failed


def test_how_long_the_rest_will_take_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(monkeypatch, 1)
    trial.workers.seconds = 300.0
    trial.crew._pace = Pace(1, lambda: trial.workers.now)
    trial.crew.do([job(tmp_path, "a"), job(tmp_path, "b")])
    assert trial.said == ["[1/2] evaluate a, about 5 min left", "[2/2] evaluate b"]
