"""The table of a study, its differences and its findings, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.reporting.study.page import page
from speechft.reporting.study.plots import draw
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.specs import SCORE
from speechft.reporting.study.table import dev_score, make_table, paired_p, sign_p
from speechft.reporting.study.verdicts import judge
from speechft.reporting.study.wording import figures_of

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
    (claim,) = judge(chosen, table)
    assert claim.pairs[0].difference is not None
    assert claim.pairs[0].difference.spread.values == pytest.approx((120.0, 125.0, 115.0))
    assert figures_of(claim).startswith("ours against tuned, score without sid: +120.0")


def test_the_score_without_a_task_that_does_not_count_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'score without"):
        study([{"says": "x", "pairs": [["ours", "tuned"]], "metric": "score without er"}])


def test_a_difference_is_paired_and_positive_when_better() -> None:
    table = make_table(study([]), measurements())
    worse = table.difference("tuned", "theta0", "pr per")
    assert worse is not None
    assert worse.spread.values == (-10.0, -11.0, -9.0)
    assert worse.clear
    better = table.difference("ours", "theta0", "sid acc")
    assert better is not None
    assert better.spread.mean == pytest.approx(6.0)
    assert table.difference("ours", "nobody", SCORE) is None


def test_only_seeds_that_both_rows_have_are_paired() -> None:
    records = [r for r in measurements() if not (r["row"] == "ours" and r["seed"] == 1)]
    difference = make_table(study([]), records).difference("ours", "theta0", "pr per")
    assert difference is not None
    assert difference.spread.values == (2.0, 2.5)


def test_p_of_the_paired_t_test() -> None:
    # mean 2, sd 1, n 3: t = 2 / (1 / √3) = 3.4641 with 2 degrees of freedom
    assert paired_p([1.0, 2.0, 3.0]) == pytest.approx(0.07417990, abs=1e-7)
    assert paired_p([1.0]) is None
    assert paired_p([2.0, 2.0, 2.0]) is None


def test_p_of_the_sign_test() -> None:
    assert sign_p(8, 8) == pytest.approx(1 / 256)
    assert sign_p(0, 5) == 1.0


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
    assert judge(one, table)[0].verdict == "not measured"


def test_one_seed_has_no_spread() -> None:
    one = study([{"says": "It is so.", "pairs": [["ours", "theta0"]]}])
    records = [record for record in measurements() if record["seed"] == 0]
    (claim,) = judge(one, make_table(one, records))
    assert claim.verdict == "as in the paper, one seed"


def test_pairs_that_begin_alike_are_told_apart() -> None:
    one = study([{"says": "x", "pairs": [["ours", "theta0"], ["ours", "tuned"]]}])
    (claim,) = judge(one, make_table(one, measurements()))
    assert "ours against theta0 +" in figures_of(claim)
    assert "ours against tuned +" in figures_of(claim)


@pytest.mark.parametrize(
    ("pairs", "metric", "need", "verdict"),
    [
        ([["ours", "theta0"]], "score", "all", "as in the paper"),
        ([["theta0", "tuned"]], "pr per", "all", "as in the paper"),
        ([["theta0", "ours"]], "score", "all", "not here"),
        ([["ours", "theta0"], ["tuned", "ours"]], "sid acc", "all", "as in the paper"),
        ([["ours", "theta0"], ["theta0", "ours"]], "score", "most", "not here"),
        ([["ours", "theta0"], ["tuned", "theta0"], ["theta0", "tuned"]], "sid acc", "most",
         "as in the paper"),
        ([["ours", "theta0"]], "ks acc", "all", "not measured"),
    ],
)  # fmt: skip
def test_verdicts(pairs: list[list[str]], metric: str, need: str, verdict: str) -> None:
    one = study([{"says": "It is so.", "pairs": pairs, "metric": metric, "need": need}])
    (claim,) = judge(one, make_table(one, measurements()))
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("values", "at_least", "verdict"),
    [
        ([0.0, 10.0, 20.0], True, "holds"),
        ([0.0, 10.0, 19.0], True, "holds, within the spread"),
        ([-5.0, 4.0, 15.0], True, "does not hold"),
        ([0.0, 10.0, 20.0], False, "not told apart, direction not as said"),
        ([1.0, 12.0, 22.0], False, "holds"),
        ([-9.0, 11.0, 31.0], False, "not told apart, direction as said"),
        ([-2.0, 7.0, 17.0], False, "does not hold"),
    ],
)
def test_the_studys_own_question(values: list[float], at_least: bool, verdict: str) -> None:
    finding = {"says": "x", "published": "", "pairs": [["ours", "theta0"]], "metric": "er acc"}
    one = study([{**finding, "at_least": at_least}])
    records = measurements()
    for record in records:
        if record["task"] == "er" and record["row"] == "ours":
            record["value"] = values[int(str(record["seed"]))]
    (claim,) = judge(one, make_table(one, records))
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("pairs", "signed"),
    [([["ours", "theta0"], ["ours", "tuned"]], False), ([["ours", "theta0"], ["a", "b"]], True)],
)
def test_only_pairs_that_share_no_row_are_coins(pairs: list[list[str]], signed: bool) -> None:
    values = study([]).model_dump(mode="json")
    values["rows"] += [{"name": n, "title": n, "encoder": "theta0"} for n in "ab"]
    values["findings"] = [{"says": "x", "pairs": pairs}]
    same = {"a": "ours", "b": "tuned"}
    records = measurements()
    records += [{**r, "row": n} for n, of in same.items() for r in measurements() if r["row"] == of]
    one = StudySettings.model_validate(values)
    (claim,) = judge(one, make_table(one, records))
    assert ("sign test p = 0.25" in figures_of(claim)) == signed
    assert figures_of(claim).count("(p 0.") == 3  # of every pair and of their mean, by the seeds


def test_the_sentence_counts_what_is_clear_for_the_finding_and_against_it() -> None:
    pairs = [["ours", "theta0"], ["tuned", "theta0"], ["theta0", "tuned"], ["tuned", "ours"]]
    one = study([{"says": "x", "pairs": pairs, "metric": "er acc"}])
    accuracies = {
        "theta0": (0.0, 10.0, 20.0),
        "tuned": (4.0, 16.0, 22.0),
        "ours": (3.0, 13.0, 17.0),
    }
    records = [
        {"row": row, "seed": seed, "task": "er", "metric": "acc", "value": value}
        for row, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    (claim,) = judge(one, make_table(one, records))
    assert figures_of(claim) == (
        "3 of 4; beyond the seeds' spread 2 for it, 1 against it; "
        "mean of the pairs +1.0 ± 0.5 (p 0.074). "
        "ours against theta0 +1.0 ± 3.5 (p 0.67); tuned against theta0 +4.0 ± 2.0 (p 0.074); "
        "theta0 against tuned -4.0 ± 2.0 (p 0.074); tuned against ours +3.0 ± 2.0 (p 0.12)"
    )


def test_a_small_difference_is_within_the_spread() -> None:
    one = study([{"says": "It is so.", "pairs": [["ours", "theta0"]], "metric": "er acc"}])
    records = measurements()
    for record in records:
        if record["task"] == "er" and record["row"] == "ours":
            record["value"] = [9.0, 10.0, 12.0][int(str(record["seed"]))]
    (claim,) = judge(one, make_table(one, records))
    assert claim.verdict == "not told apart, direction as in the paper"


def test_what_all_are_compared_with_is_named_once_and_a_row_is_no_pair_with_itself() -> None:
    values = study([]).model_dump(mode="json")
    values["rows"] += [{"name": "again", "title": "again", "encoder": "theta0"}]
    pairs = [["ours", "theta0"], ["tuned", "theta0"], ["again", "theta0"]]
    values["findings"] = [{"says": "x", "pairs": pairs, "metric": "pr per"}]
    one = StudySettings.model_validate(values)
    records = measurements()
    records += [{**r, "row": "again"} for r in measurements() if r["row"] == "theta0"]
    (claim,) = judge(one, make_table(one, records))
    text = figures_of(claim)
    assert text.startswith("1 of 2; ")
    assert ". Against theta0: ours +" in text
    assert text.endswith("; again is the same encoder as theta0")


def test_equal_values_make_no_same_encoder() -> None:
    """On a small test split two encoders may well have the same accuracy."""
    one = study([{"says": "x", "pairs": [["ours", "theta0"]], "metric": "er acc"}])
    (claim,) = judge(one, make_table(one, measurements()))
    assert "same encoder" not in figures_of(claim)
    assert claim.verdict == "not told apart, direction not as in the paper"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({"a": 5, "b": 5, "c": 5}, "holds"),
        ({"a": 5, "b": 5, "c": -5}, "does not hold"),  # all are needed
        ({"a": 5, "b": 5, "c": -1}, "not told apart, direction not as said"),
        ({"a": 5, "b": 1, "c": 1}, "not told apart, direction as said"),
    ],
)
def test_a_finding_over_pairs_fails_only_by_what_is_told_apart(
    values: dict[str, float], verdict: str
) -> None:
    given = study([]).model_dump(mode="json")
    given["rows"] += [{"name": n, "title": n, "encoder": "theta0"} for n in values]
    given["findings"] = [
        {"says": "x", "pairs": [[n, "theta0"] for n in values], "metric": "er acc"}
    ]
    noise = (-2.0, 0.0, 2.0)
    records = [
        {"row": row, "seed": seed, "task": "er", "metric": "acc", "value": 50 + more + of}
        for row, more in {"theta0": 0.0, **values}.items()
        for seed, of in enumerate(noise if row != "theta0" else (0.0, 0.0, 0.0))
    ]
    one = StudySettings.model_validate(given)
    assert judge(one, make_table(one, records))[0].verdict == verdict


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
    text = page(one, make_table(one, measurements()), [], {"missing": ["ours, seed 1"]}, figures)
    assert "**Not complete:** nothing yet for ours, seed 1." in text
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
