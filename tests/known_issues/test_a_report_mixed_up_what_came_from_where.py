"""A report put encoders together that did not come from each other.

Where one fine-tuning was evaluated, every merge beside it was taken to be of it. Of two θ0, and of
two fine-tunings on one task, the headline took the first of each in the order of names, and the
page gave every row's difference to the first θ0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechft.core.files import write_json, write_jsonl
from speechft.reporting.comparison import Comparison
from speechft.reporting.encoder_roles import infer_roles
from speechft.reporting.findings import findings, label
from speechft.reporting.page import cells
from speechft.reporting.settings import ReportSettings
from speechft.reporting.stage import comparison_of, report
from speechft.reporting.tradeoff import planes


class Place:
    """A folder of encoders as the stages leave them, and their evaluation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values: dict[str, dict[str, float]] = {}
        self.ids: dict[str, str] = {}

    def plain(self, name: str, **values: float) -> str:
        return self._keep(str(self.folder / name), values)

    def tuned(self, name: str, base: str, task: str = "sid", **values: float) -> str:
        about = {
            "stage": "finetune",
            "settings": {"task": task, "method": "stable", "encoder": base},
            "depends": {"encoder": f"id {base}"},
            "parents": {"encoder": f"hash {base}"},
            "products": {"encoder/model.safetensors": {"size": 1, "sha256": f"file {name}"}},
        }
        write_json(self.folder / name / "speechft.json", about)
        return self._keep(str(self.folder / name), values)

    def merged(
        self, name: str, base: str, *tuned: str, alpha: str = "0.25", **values: float
    ) -> str:
        about = {
            "stage": "merge",
            "settings": {"base": base, "tuned": list(tuned), "method": "linear"},
            "depends": {"base": f"id {base}", "tuned": [f"id {one}" for one in tuned]},
            "parents": {base: f"file {base}"} | {one: f"file {Path(one).name}" for one in tuned},
            "alpha": alpha,
        }
        write_json(self.folder / name / "speechft.json", about)
        return self._keep(str(self.folder / name), values)

    def _keep(self, path: str, values: dict[str, float]) -> str:
        self.values[path] = values or {"sid": 50.0, "er": 50.0}
        return path

    def evaluate(
        self, *names: str, out: str = "scores", names_of: Any = (), seeds: tuple[int, ...] = (0,)
    ) -> Path:
        called = dict(names_of)
        records = [
            {
                "encoder": called.get(name, name),
                "encoder_hash": f"hash {name}",
                "task": task,
                "metric": "acc",
                "value": value + seed,
                "direction": "higher",
                "seed": seed,
            }
            for name in names
            for task, value in self.values[name].items()
            for seed in seeds
        ]
        write_jsonl(self.folder / out / "results.jsonl", records)
        specs = [{"path": n, **({"name": called[n]} if n in called else {})} for n in names]
        ids = [{"path": f"id {name}"} for name in names]
        made = {"stage": "evaluate", "settings": {"encoders": specs}, "depends": {"encoders": ids}}
        write_json(self.folder / out / "speechft.json", made)
        return self.folder / out


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def shown(table: Comparison) -> list[tuple[str, ...]]:
    return [
        tuple(label(row.encoder) for row in (trio.pretrained, trio.finetuned, trio.merged))
        for trio in table.trios
    ]


def test_a_merge_of_something_else_is_not_of_the_fine_tuning_beside_it(place: Place) -> None:
    base = place.plain("base")
    tuned = place.tuned("sid", base)
    other = place.merged("other", base, str(place.folder / "elsewhere"))
    table = comparison_of((place.evaluate(base, tuned, other),))
    assert not table.trios
    (row,) = [r for r in table.rows if r.encoder.role == "merged"]
    assert (row.encoder.tuned_on, label(row.encoder)) == ("", "Linear merging, α = 0.25")
    assert not planes(table) or row.encoder not in [
        point.encoder for plane in planes(table) for way in plane.lines.values() for point in way
    ]


def test_a_merge_of_an_earlier_run_in_the_same_folder_is_not_of_the_new_one(place: Place) -> None:
    base = place.plain("base")
    tuned = place.tuned("sid", base)
    merged = place.merged("merged", base, tuned)
    (place.folder / "sid" / "speechft.json").unlink()
    again = place.tuned("sid", base)
    assert comparison_of((place.evaluate(base, again, merged),)).trios
    record = place.folder / "sid" / "speechft.json"
    record.write_text(record.read_text().replace("file sid", "file of another training"))
    place.ids.clear()
    scores = place.evaluate(base, again, merged)
    made = scores / "speechft.json"
    made.write_text(made.read_text().replace(f"id {again}", "id of another training"))
    assert not comparison_of((scores,)).trios


def test_a_merge_is_known_from_wherever_the_report_is_made(place: Place, monkeypatch) -> None:
    base, tuned = place.plain("base"), place.tuned("sid", "base")
    place.merged("merged", "base", "runs/sid")
    about = place.folder / "merged" / "speechft.json"
    monkeypatch.chdir(place.folder)
    roles = infer_roles(
        [
            {"encoder": tuned, "encoder_hash": "x"},
            {"encoder": str(about.parent), "encoder_hash": "y"},
        ]
    )
    assert [one["tuned_on"] for one in roles.values()] == ["sid", "sid"]
    assert base not in roles


def two_of_each(place: Place, **more: Any) -> Path:
    """Two θ0 whose fine-tunings and merges sort the other way round."""
    one, two = place.plain("a0", sid=10, er=60), place.plain("b0", sid=20, er=70)
    tuned = place.tuned("z-of-a", one, sid=80, er=40), place.tuned("y-of-b", two, sid=90, er=30)
    merged = place.merged("m", two, tuned[1], sid=60, er=75), place.merged("n", one, tuned[0])
    return place.evaluate(one, two, *tuned, *merged, **more)


def test_every_encoder_is_compared_with_those_that_it_comes_from(place: Place) -> None:
    table = comparison_of((two_of_each(place),))
    a, b = (str(place.folder / name) for name in ("a0", "b0"))
    end = "on SID, α = 0.25"
    assert shown(table) == [
        (f"Pretrained · {o}", f"Stable fine-tuning on SID · {o}", f"Speech-FT {end} · {o}")
        for o in (a, b)
    ]
    assert [trio.finetuned.cells["sid", "acc"].mean for trio in table.trios] == [80, 90]
    assert [trio.merged.cells["sid", "acc"].mean for trio in table.trios] == [50, 60]
    changes = {label(row.encoder): cells(table, row)[0].change for row in table.rows}
    assert changes[f"Stable fine-tuning on SID · {a}"] == "+70.0"
    assert changes[f"Stable fine-tuning on SID · {b}"] == "+70.0"
    said = [one.headline for one in findings(table)]
    assert [o in one for o, one in zip((a, b), said, strict=True)] == [True, True]
    ways = {p.base: [q.own.mean for q in way] for p in planes(table) for way in p.lines.values()}
    assert ways == {a: [10, 50, 80], b: [20, 60, 90]}


def test_two_fine_tunings_on_one_task_have_their_own_merges(place: Place) -> None:
    base = place.plain("base", sid=10, er=60)
    tuned = [place.tuned(n, base, sid=v, er=v) for n, v in (("one", 70), ("two", 80))]
    merged = [
        place.merged("m", base, tuned[1], sid=41, er=41),
        place.merged("n", base, tuned[0], sid=31, er=31),
    ]
    table = comparison_of((place.evaluate(base, *tuned, *merged),))
    found = [
        (trio.finetuned.cells["sid", "acc"].mean, trio.merged.cells["sid", "acc"].mean)
        for trio in table.trios
    ]
    assert found == [(70, 31), (80, 41)]
    assert len({one.headline for one in findings(table)}) == 2


def test_what_others_tuned_is_the_theta_of_a_merge_with_it(place: Place) -> None:
    base, theirs = place.plain("base", sid=10, er=60), place.plain("theirs", sid=80, er=20)
    merged = place.merged("merged", base, theirs, sid=50, er=65)
    table = comparison_of((place.evaluate(base, theirs, merged),))
    end = f" · {theirs}"
    own = (f"Fine-tuning{end}", f"Linear merging, α = 0.25{end}")
    assert shown(table) == [("Pretrained", *own)]
    assert findings(table)[0].headline.startswith(f"Linear merging{end} is not told apart")


def test_names_that_were_given_stand_for_their_encoders(place: Place) -> None:
    base = place.plain("base")
    tuned = place.tuned("sid", base)
    merged = place.merged("merged", base, tuned)
    names = [(base, "mine"), (tuned, "tuned by me"), (merged, "between")]
    table = comparison_of((place.evaluate(base, tuned, merged, names_of=names),))
    assert shown(table) == [
        (
            "Pretrained · mine",
            "Stable fine-tuning on SID · tuned by me",
            "Speech-FT on SID, α = 0.25 · between",
        )
    ]


def test_a_merge_of_two_fine_tunings_was_tuned_on_both(place: Place) -> None:
    base = place.plain("base")
    tuned = place.tuned("sid", base), place.tuned("er", base, task="er")
    merged = place.merged("merged", base, *tuned)
    table = comparison_of((place.evaluate(base, tuned[0], merged),))
    assert not table.trios  # one of both is not beside it, and neither alone is its θ'
    (row,) = [r for r in table.rows if r.encoder.role == "merged"]
    assert row.encoder.tuned_on == "sid,er"


def test_two_evaluations_are_both_in_the_title_and_each_says_its_seeds(place: Place) -> None:
    base = place.plain("base")
    tuned = place.tuned("sid", base)
    names = (base, tuned, place.merged("merged", base, tuned))
    runs = (place.evaluate(*names, seeds=(0, 1)), place.evaluate(*names, out="more", seeds=(2,)))
    for run in runs[1:]:
        path = run / "results.jsonl"
        path.write_text(path.read_text().replace('"seed": 2', '"seed": 0'))
    table = comparison_of(runs)
    one, two = findings(table)
    assert one.headline.startswith("more · Speech-FT on SID")
    assert two.headline.startswith("scores · Speech-FT on SID")
    assert ["One seed only" in said.headline for said in (one, two)] == [True, False]
    out = place.folder / "out"
    report(ReportSettings(runs=runs, out=out))
    assert (out / "report.md").read_text().startswith("# scores and more\n")
