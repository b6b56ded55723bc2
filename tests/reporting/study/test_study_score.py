"""A study of a suite with SUPERB_S is scored by it: in the table, the findings and the choices."""

from __future__ import annotations

import pytest

from speechft.metrics.superb import superb_score
from speechft.reporting.study.page import page
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.table import dev_score, make_table
from speechft.reporting.study.verdicts import judge

# Of PAPER's rows: by the suite score the second is better, by SUPERB_S the first.
ROWS = {
    "theta0": {"pr per": 5.0, "sid acc": 80.0, "er acc": 65.0},
    "tuned": {"pr per": 5.0, "sid acc": 84.5, "er acc": 62.0},
}
SF = {"sf slot_type_f1": 88.0, "sf slot_value_cer": 24.0}


def _study(**evaluate):
    rows = [{"name": name, "title": name, "encoder": "theta0"} for name in ROWS]
    finding = {"says": "tuned beats theta0", "pairs": [["tuned", "theta0"]], "metric": "score"}
    return StudySettings(
        name="s", title="S", encoders={"theta0": "x"}, evaluate=evaluate, rows=rows,
        findings=[finding],
    )  # fmt: skip


def _measurements():
    for name, values in ROWS.items():
        for seed in range(3):
            for column, value in {**values, **SF}.items():
                task, metric = column.split()
                row = {"row": name, "seed": seed, "task": task, "metric": metric}
                yield {**row, "value": value + 0.01 * seed * len(name)}


def test_superb_s_in_the_table_the_findings_and_the_page():
    outcomes = {}
    for suite in ({"suite": "paper4"}, {}):
        study = _study(**suite)
        assert study.tasks == ("pr", "sid", "er", "sf")
        table = make_table(study, _measurements())
        outcomes[len(suite)] = table, judge(study, table)[0].outcome, page(study, table, [], {}, [])
    table, outcome, text = outcomes[1]
    scores = {task: {} for task in study.tasks}
    for column, value in {**ROWS["theta0"], **SF}.items():
        task, metric = column.split()
        scores[task][metric] = value
    assert table.rows["theta0"]["score"][0] == pytest.approx(superb_score(scores))
    assert "score without sid" in table.rows["theta0"]
    assert "| encoder | SUPERB_S ↑ |" in text
    assert "reference set “speech-ft”" in text
    assert (outcome, outcomes[0][1]) == ("fails", "holds")
    assert "Suite score" in outcomes[0][2]


def test_a_part_of_the_suite_has_the_suite_score():
    assert _study(suite="paper4", tasks=["pr", "sid"]).reference is None
    assert _study(suite="mini").reference is None


def test_choices_are_made_by_superb_s_on_dev():
    def grid(values):
        rows = {}
        for column, value in values.items():
            task, metric = column.split()
            rows.setdefault(task, {"task": task, "chosen": True})[metric] = value
        return list(rows.values())

    first, second = (grid({**values, **SF}) for values in ROWS.values())
    assert dev_score(first, "speech-ft") > dev_score(second, "speech-ft")
    assert dev_score(first) < dev_score(second)
    diarized = [*first, {"task": "sd", "chosen": True, "frame_acc": 90.0}]
    assert 0 < dev_score(diarized, "superb-published") < 1000  # no DER on dev: the suite score
