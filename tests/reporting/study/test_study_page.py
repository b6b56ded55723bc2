"""The table of a study, its differences and its findings, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.reporting.study.page import page
from speechft.reporting.study.plots import draw
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.stage_and_row_settings import SCORE
from speechft.reporting.study.table import dev_score, make_table
from speechft.reporting.study.verdicts import figures_of, judge

PER = {"theta0": [30.0, 31.0, 32.0], "tuned": [40.0, 42.0, 41.0], "ours": [28.0, 29.5, 29.5]}
ACC = {"theta0": [50.0, 52.0, 54.0], "tuned": [60.0, 60.0, 60.0], "ours": [58.0, 58.0, 58.0]}


def study(findings: list[dict[str, object]]) -> StudySettings:
    values = {
        "name": "s",
        "title": "A study",
        "encoders": {"theta0": "tiny-hubert"},
        "evaluate": {"data": "synthetic:tiny", "tasks": ["pr", "sid"]},
        "further": ["er", "ks"],
        "rows": [
            {"name": "theta0", "title": "θ0", "encoder": "theta0"},
            {"name": "tuned", "title": "θ'", "encoder": "theta0"},
            {"name": "ours", "title": "Ours", "encoder": "theta0", "tuned": "tuned"},
        ],
        "findings": [{"published": "1 to 2", **one} for one in findings],
    }
    return StudySettings.model_validate(values)


def measurements() -> list[dict[str, object]]:
    records = []
    for row in PER:
        for seed in range(3):
            records += [
                {"row": row, "seed": seed, "task": "pr", "metric": "per", "value": PER[row][seed]},
                {"row": row, "seed": seed, "task": "sid", "metric": "acc", "value": ACC[row][seed]},
                {"row": row, "seed": seed, "task": "er", "metric": "acc", "value": 10.0 * seed},
            ]
    return [{**record, "encoder_hash": f"{record['row']} made"} for record in records]


def test_the_score_counts_only_the_tasks_that_count() -> None:
    table = make_table(study([]), measurements())
    # 1000 · ((1 − 0.30) + 0.50) / 2 with seed 0
    assert table.rows["theta0"][SCORE][0] == pytest.approx(600.0)
    assert table.columns == ["pr per", "sid acc", "er acc"]
    assert table.counted == 2


def test_the_score_without_a_task_is_that_of_the_others() -> None:
    finding = {"says": "x", "pairs": [["ours", "tuned"]], "metric": "score without sid"}
    chosen = study([finding])
    table = make_table(chosen, measurements())
    # The errors of PR alone: 1000 · (1 − 0.40) and 1000 · (1 − 0.28) with seed 0
    assert table.rows["tuned"]["score without sid"][0] == pytest.approx(600.0)
    (verdict,) = judge(chosen, table)
    assert verdict.pairs[0].difference is not None
    assert verdict.pairs[0].difference.values == pytest.approx((120.0, 125.0, 115.0))
    assert figures_of(verdict).startswith(
        "ours against tuned +120.0 ± 5.0 [107.6, 132.4] (score without"
    )


def test_the_score_without_a_task_that_does_not_count_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'score without"):
        study([{"says": "x", "pairs": [["ours", "tuned"]], "metric": "score without er"}])


def test_a_difference_is_paired_and_positive_when_better() -> None:
    table = make_table(study([]), measurements())
    worse = table.difference("tuned", "theta0", "pr per")
    assert worse is not None
    assert worse.values == (-10.0, -11.0, -9.0)
    better = table.difference("ours", "theta0", "sid acc")
    assert better is not None
    assert better.mean == pytest.approx(6.0)
    assert table.difference("ours", "nobody", SCORE) is None


def test_only_seeds_that_both_rows_have_are_paired() -> None:
    records = [r for r in measurements() if not (r["row"] == "ours" and r["seed"] == 1)]
    difference = make_table(study([]), records).difference("ours", "theta0", "pr per")
    assert difference is not None
    assert difference.values == (2.0, 2.5)


def test_the_dev_score_takes_the_chosen_rates() -> None:
    about = {"encoder": "e", "seed": 0, "step": 1}
    grid = [
        {**about, "task": "pr", "learning_rate": 1, "per": 20.0, "chosen": True},
        {**about, "task": "pr", "learning_rate": 2, "per": 90.0, "chosen": False},
        {**about, "task": "sid", "learning_rate": 1, "acc": 60.0, "chosen": True},
    ]
    assert dev_score(grid) == pytest.approx(700.0)


def test_the_dev_score_of_folds_is_that_of_their_mean_and_a_layer_is_no_metric() -> None:
    grid = [
        {"task": "er", "fold": 1, "learning_rate": 1, "acc": 50.0, "chosen": True},
        {"task": "er", "fold": 2, "learning_rate": 2, "acc": 70.0, "chosen": True},
        {"task": "qbe", "state": 3, "mtwv": 20.0, "chosen": True},
    ]
    assert dev_score(grid) == pytest.approx(400.0)


@pytest.mark.parametrize("value", [float("nan"), None])
def test_what_is_no_number_was_not_measured(value: float | None) -> None:
    records = measurements()
    for record in records:
        if (record["row"], record["task"]) == ("ours", "pr"):
            record["value"] = value
    one = study([{"says": "It is so.", "pairs": [["ours", "theta0"]]}])
    table = make_table(one, records)
    assert table.spread("ours", SCORE) is None
    assert judge(one, table)[0].text == "not measured"


def test_pairs_that_begin_alike_are_told_apart() -> None:
    one = study([{"says": "x", "pairs": [["ours", "theta0"], ["ours", "tuned"]]}])
    (verdict,) = judge(one, make_table(one, measurements()))
    assert "ours against theta0 +" in figures_of(verdict)
    assert "ours against tuned +" in figures_of(verdict)


def test_the_page_holds_what_was_measured() -> None:
    one = study([{"says": "It | is so.", "published": "1 to 2", "pairs": [["ours", "theta0"]]}])
    table = make_table(one, measurements())
    text = page(one, table, judge(one, table), {"synthetic": True, "hours": 2.0}, [], "My reading.")
    assert "| Ours | 645 ± 4 |" in text
    assert "It \\| is so. (Published: 1 to 2.)" in text
    assert "My reading." in text
    assert "synthetic" in text
    rows = [line for line in text.splitlines() if line.startswith("| Ours")]
    assert len(rows) == 2, "a row of values and a row of differences"


def test_the_page_survives_pipes_and_groups_and_says_what_is_missing() -> None:
    values = study([]).model_dump(mode="json")
    values["rows"][1] |= {"group": "a|b", "title": "x|y"}
    one = StudySettings.model_validate(values)
    figures = [("a.png", "Score [percent]")]
    missing = ["ours, seed 1", "theirs, seed 1 2", "late, seed 3", "ours, seed 2"]
    text = page(one, make_table(one, measurements()), [], {"missing": missing}, figures)
    said = "**Not complete:** not all columns yet of ours, theirs (seeds 1, 2); late (seed 3)."
    assert said in text
    assert "**a\\|b**" in text
    assert "![Score (percent)](a.png)" in text
    table = text[text.index("## Table") : text.index("## Differences")]
    widths = {
        line.replace("\\|", "").count("|") for line in table.splitlines() if line.startswith("|")
    }
    assert len(widths) == 1
    assert "| **** |" not in text


@pytest.mark.filterwarnings("error")
def test_a_figure_of_many_rows_with_long_titles_has_room_for_its_bars(tmp_path: Path) -> None:
    values = study([]).model_dump(mode="json")
    long = "Speech-FT with all that belongs to it, and in the end a little more than that"
    values["rows"] += [
        {"name": f"r{n}", "title": f"{n} {long}", "encoder": "theta0", "group": f"Group {n // 8}"}
        for n in range(40)
    ]
    records = measurements()
    records += [
        {**r, "row": f"r{n}"} for n in range(40) for r in measurements() if r["row"] == "ours"
    ]
    for row in values["rows"]:
        row["x"] = 1.0 if row["name"] == "ours" else None
    one = StudySettings.model_validate(values)
    ((name, _), (lines, caption)) = draw(one, make_table(one, records), tmp_path)
    assert (tmp_path / name).stat().st_size > 5000
    assert (tmp_path / lines).stat().st_size > 5000
    assert caption == "Score; bands are one standard deviation of the seeds."
