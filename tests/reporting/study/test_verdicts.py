"""Verdicts on findings, by hand: intervals over seeds, margins, Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from speechft.core.errors import SettingsError
from speechft.core.settings import parse_settings
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.table import make_table
from speechft.reporting.study.verdicts import Verdict, figures_of, judge

ZERO = (0.0, 0.0, 0.0)
CLEAR = (1.0, 2.0, 2.0)  # mean 1.67, standard error 0.33: t = 5, two-sided p 0.0377
CLEARER = (2.0, 2.0, 2.1)  # p 0.0003
NOISY = (-1.0, 1.0, 3.0)  # p 0.42


def verdicts(
    differences: Mapping[str, Sequence[float]], findings: Sequence[Mapping[str, Any]]
) -> list[Verdict]:
    """Judge rows whose accuracies lie so far above θ0's, seed by seed."""
    rows = {"theta0": ZERO, **differences}
    study = StudySettings.model_validate(
        {
            "name": "s",
            "title": "A study",
            "encoders": {"theta0": "tiny-hubert"},
            "evaluate": {"data": "synthetic:tiny", "tasks": ["pr"]},
            "further": ["er"],
            "rows": [{"name": name, "title": name, "encoder": "theta0"} for name in rows],
            "findings": [{"says": "x", "metric": "er acc", **one} for one in findings],
        }
    )
    records = [
        {"row": row, "seed": seed, "task": "er", "metric": "acc", "value": 50.0 + value,
         "encoder_hash": "theta0" if row == "again" else row}
        for row, values in rows.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return judge(study, make_table(study, records))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (CLEAR, "holds"),
        (tuple(-v for v in CLEAR), "does not hold"),
        (NOISY, "not told apart"),
        ((1.0, 1.0, 1.0), "not told apart"),  # as near as a test of 60 items gets by chance
        ((5.0,), "not told apart"),  # one seed
    ],
)
def test_a_finding_holds_only_where_its_interval_leaves_out_0(
    values: Sequence[float], text: str
) -> None:
    (found,) = verdicts({"a": values}, [{"pairs": [["a", "theta0"]]}])
    assert found.text == text
    interval = found.pairs[0].difference and found.pairs[0].difference.interval(found.level)
    assert (interval is not None and interval.excludes(0)) == (text != "not told apart")


def test_what_was_published_is_as_in_the_paper_or_not() -> None:
    finding = {"pairs": [["a", "theta0"]], "published": "1 to 2"}
    assert verdicts({"a": CLEAR}, [finding])[0].text == "as in the paper"
    assert verdicts({"a": [-v for v in CLEAR]}, [finding])[0].text == "not here"


@pytest.mark.parametrize(
    ("values", "margin", "text"),
    [
        ((-0.5, 0.0, 0.5), 2.0, "holds"),  # ±1.24 around 0
        ((-0.5, 0.0, 0.5), 1.0, "not told apart"),
        ((0.0, 1.0, 2.0), 0.5, "not told apart"),  # better in the mean is no proof of no loss
        ((-4.0, -4.2, -4.1), 2.0, "does not hold"),
        ((-1.0, -1.2, -1.1), 2.0, "holds"),  # a loss, smaller than what counts
    ],
)
def test_as_good_needs_a_margin(values: Sequence[float], margin: float, text: str) -> None:
    finding = {"pairs": [["a", "theta0"]], "at_least": True, "margin": margin}
    assert verdicts({"a": values}, [finding])[0].text == text


@pytest.mark.parametrize("finding", [{"at_least": True}, {"margin": 2.0}])
def test_at_least_and_margin_belong_together(finding: dict[str, Any]) -> None:
    one = {"says": "x", "pairs": [["a", "a"]], **finding}
    given = {
        "name": "s",
        "title": "t",
        "encoders": {"theta0": "e"},
        "evaluate": {"data": "d", "tasks": ["pr"]},
        "rows": [{"name": "a", "title": "a", "encoder": "theta0", "before": ""}],
        "findings": [one],
    }
    with pytest.raises(SettingsError, match="at_least and margin belong together"):
        parse_settings(StudySettings, given, where="s.yaml")


@pytest.mark.parametrize(
    ("rows", "need", "text"),
    [
        ({"a": CLEAR, "b": CLEAR, "c": CLEAR}, "all", "holds"),
        ({"a": CLEARER, "b": CLEARER, "c": NOISY}, "all", "not told apart"),
        ({"a": CLEARER, "b": CLEARER, "c": NOISY}, "most", "holds"),
        ({"a": CLEAR, "b": CLEAR, "c": NOISY}, "most", "not told apart"),  # 2 · 0.0377
        ({"a": CLEAR, "b": CLEAR, "c": [-v for v in CLEARER]}, "all", "does not hold"),
        ({"a": CLEAR, "b": CLEAR, "c": [-v for v in CLEAR]}, "all", "not told apart"),
    ],
)
def test_a_finding_over_several_pairs(rows: dict[str, Any], need: str, text: str) -> None:
    finding = {"pairs": [[name, "theta0"] for name in rows], "need": need}
    assert verdicts(rows, [finding])[0].text == text


def test_all_findings_of_a_study_share_the_95_percent() -> None:
    rows = {"a": CLEAR, "b": NOISY}
    alone, *_ = verdicts(rows, [{"pairs": [["a", "theta0"]]}])
    among, other = verdicts(rows, [{"pairs": [["a", "theta0"]]}, {"pairs": [["b", "theta0"]]}])
    assert (alone.text, among.text, other.text) == ("holds", *["not told apart"] * 2)
    assert among.p == pytest.approx(2 * alone.p)
    assert (alone.level, among.level) == pytest.approx((0.95, 0.975))


def test_what_is_not_measured_yet_counts_among_the_findings() -> None:
    findings = [{"pairs": [["a", "theta0"]]}, {"pairs": [["a", "theta0"]], "metric": "pr per"}]
    assert [one.text for one in verdicts({"a": CLEAR}, findings)] == [
        "not told apart",
        "not measured",
    ]


def test_the_same_encoder_is_no_pair_with_itself_and_no_worse_than_itself() -> None:
    pairs = [["again", "theta0"], ["a", "theta0"]]
    rows = {"again": ZERO, "a": CLEAR}
    assert verdicts(rows, [{"pairs": pairs}])[0].text == "holds"
    as_good = {"pairs": pairs[:1], "at_least": True, "margin": 1.0}
    assert verdicts(rows, [as_good])[0].text == "holds"
    (better,) = verdicts(rows, [{"pairs": pairs[:1]}])
    assert better.text == "not told apart"
    assert figures_of(better) == "again is the same encoder as theta0."


def test_the_sentence_gives_every_pair_and_their_mean_by_the_seeds() -> None:
    pairs = [["a", "theta0"], ["b", "theta0"]]
    (found,) = verdicts({"a": CLEAR, "b": NOISY}, [{"pairs": pairs}])
    assert figures_of(found) == (
        "Against theta0: a +1.7 ± 0.6 [0.2, 3.1]; b +1.0 ± 2.0 [-4.0, 6.0] (er acc; intervals at "
        "95.00 %; p with Holm's correction 0.48); mean of the pairs +1.3 ± 1.3 [-1.8, 4.5]."
    )
