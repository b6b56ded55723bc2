"""The dev splits choose a row's encoder: not the test splits, not the further seeds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from study_fixture import written

from speechft.core.files import write_json, write_jsonl
from speechft.pipeline.graph import DIVERGED, Graph, note_of
from speechft.pipeline.study.stage import load_study
from speechft.pipeline.study.study_jobs import Builder
from speechft.pipeline.study.study_outputs import choices_of

CANDIDATES = ("at-0.25", "at-0.75")
DONE = "done"
Pair = tuple[float, float]


@pytest.fixture(autouse=True)
def _done_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job counts as done where a file says so."""
    monkeypatch.setattr(
        Graph, "_look", lambda _, job: "done" if (job.folder / DONE).is_file() else "to do"
    )


class Place:
    """A study whose candidates are evaluated by hand, and its choice."""

    def __init__(self, folder: Path) -> None:
        self.study = load_study(written(folder))
        self.root = folder / "out"

    def builder(self) -> Builder:
        return Builder(self.study, self.root, Graph())

    def evaluate(self, seed: int, dev: Pair, test: Pair) -> None:
        """Write accuracies of the candidates, and end their stages."""
        builder = self.builder()
        for name, on_dev, on_test in zip(CANDIDATES, dev, test, strict=True):
            folder = builder.evaluations(name, seed, further=False)[0].folder
            folder.mkdir(parents=True, exist_ok=True)
            about = {"encoder": "encoder", "task": "sid", "seed": seed, "learning_rate": 0.1}
            grid = [
                {**about, "step": 1, "acc": 99.0, "chosen": False},
                {**about, "step": 2, "acc": on_dev, "chosen": True},
            ]
            write_jsonl(folder / "grid.jsonl", grid)
            record = {**about, "step": 2, "metric": "acc", "value": on_test, "split": "test"}
            write_jsonl(folder / "results.jsonl", [record])
        for job in builder.graph.jobs.values():
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / DONE).touch()

    @property
    def chosen(self) -> str | None:
        return self.builder().add_jobs().get("chosen")


@pytest.mark.parametrize(("dev", "winner"), [((60.0, 70.0), "at-0.75"), ((70.0, 60.0), "at-0.25")])
def test_the_best_on_dev_is_chosen_however_test_stands(
    tmp_path: Path, dev: Pair, winner: str
) -> None:
    place = Place(tmp_path)
    place.evaluate(0, dev, dev[::-1])
    assert place.chosen == winner
    scores = {name: 10 * one for name, one in zip(CANDIDATES, dev, strict=True)}
    assert choices_of(place.builder()) == {"chosen": scores}


def test_further_seeds_do_not_count(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.evaluate(0, (60.0, 70.0), (50.0, 50.0))
    place.evaluate(1, (95.0, 5.0), (50.0, 50.0))
    assert place.chosen == "at-0.75"


def test_a_tie_takes_the_first(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.evaluate(0, (60.0, 60.0), (10.0, 90.0))
    assert place.chosen == "at-0.25"


@pytest.mark.parametrize("dev", [(math.nan, 0.0), (0.0, math.nan)])
def test_a_score_that_is_no_number_loses(tmp_path: Path, dev: Pair) -> None:
    place = Place(tmp_path)
    place.evaluate(0, dev, (50.0, 50.0))
    best = dev.index(0.0)
    assert place.chosen == CANDIDATES[best]
    found = choices_of(place.builder())
    assert found == {"chosen": {CANDIDATES[best]: 0.0, CANDIDATES[1 - best]: None}}


@pytest.mark.parametrize("lost", CANDIDATES)
def test_a_candidate_that_diverged_loses_even_to_nothing(tmp_path: Path, lost: str) -> None:
    place = Place(tmp_path)
    place.evaluate(0, (0.0, 0.0), (50.0, 50.0))
    (job,) = place.builder().evaluations(lost, 0, further=False)
    (job.folder / DONE).unlink()
    write_json(note_of(job.folder), {DIVERGED: "no numbers"})
    (other,) = set(CANDIDATES) - {lost}
    assert place.chosen == other
    assert choices_of(place.builder()) == {"chosen": {lost: None, other: 0.0}}


def test_nothing_is_chosen_while_a_candidate_is_out(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.evaluate(0, (60.0, 70.0), (50.0, 50.0))
    (place.builder().evaluations("at-0.25", 0, further=False)[0].folder / DONE).unlink()
    assert place.chosen is None
