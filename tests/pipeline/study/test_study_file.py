"""Entries with `for` and `over` stand for many."""

from __future__ import annotations

import pytest

from speechft.core.errors import SettingsError
from speechft.pipeline.study.study_file import expand

SETS = {
    "tasks": [{"task": "pr", "rate": 1e-3}, {"task": "sid", "rate": 3e-4}],
    "alphas": [{"alpha": 0.25}, {"alpha": 1}],
}


def test_a_value_keeps_its_type_where_the_text_is_nothing_else() -> None:
    entry = {"for": "tasks", "name": "{task}-x", "finetune": {"learning_rate": "{rate}"}}
    values = expand({"sets": SETS, "stages": [entry]}, "here")
    assert values["stages"] == [
        {"name": "pr-x", "finetune": {"learning_rate": 1e-3}},
        {"name": "sid-x", "finetune": {"learning_rate": 3e-4}},
    ]
    assert "sets" not in values


def test_two_sets_give_every_combination() -> None:
    values = expand(
        {"sets": SETS, "rows": [{"for": ["tasks", "alphas"], "name": "{task}-{alpha}"}]}, ""
    )
    assert [row["name"] for row in values["rows"]] == ["pr-0.25", "pr-1", "sid-0.25", "sid-1"]


def test_over_multiplies_pairs_inside_one_finding() -> None:
    finding = {"says": "x", "over": "tasks", "pairs": [["{task}-a", "theta0"]]}
    values = expand({"sets": SETS, "findings": [finding]}, "")
    assert values["findings"] == [{"says": "x", "pairs": [["pr-a", "theta0"], ["sid-a", "theta0"]]}]


def test_for_reaches_into_a_finding_with_over() -> None:
    finding = {
        "for": "alphas",
        "says": "{alpha}",
        "over": "tasks",
        "pairs": [["{task}-{alpha}", "b"]],
    }
    values = expand({"sets": SETS, "findings": [finding]}, "")
    assert values["findings"][1] == {"says": 1, "pairs": [["pr-1", "b"], ["sid-1", "b"]]}


@pytest.mark.parametrize("members", [[{True: 1}], ["sid"], [3]])
def test_members_that_are_no_names_with_values(members: list[object]) -> None:
    with pytest.raises(SettingsError, match="'odd'"):
        expand({"sets": {"odd": members}, "rows": [{"for": "odd", "name": "x"}]}, "study.yaml")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"for": "task", "name": "{task}"}, "no set 'task'"),
        ({"for": "tasks", "name": "{tusk}"}, "{tusk}"),
        ({"for": 3, "name": "{task}"}, "no set 3"),
        ({"for": {"tasks": 1}, "name": "{task}"}, "no set"),
    ],
)
def test_what_is_missing_is_named(entry: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        expand({"sets": SETS, "stages": [entry]}, "study.yaml")
    assert "task" in str(caught.value.hint)
    assert "study.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["pr"], "sets is no mapping"),
        ({"tasks": "pr"}, "the set 'tasks' is no list"),
        ({"tasks": ["pr", "sid"]}, "the set 'tasks' is no list of members"),
        ({"tasks": [{"task": "sid", True: "SID"}]}, "reads on, off, yes and no"),
    ],
)
def test_sets_that_are_none(sets: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        expand({"sets": sets, "stages": [{"for": "tasks", "name": "{task}"}]}, "study.yaml")


@pytest.mark.parametrize("pairs", [{}, {"pairs": "a"}, {"pairs": 3}])
def test_over_is_for_pairs(pairs: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="repeats the pairs of a finding"):
        expand({"sets": SETS, "stages": [{"name": "x", "over": "tasks", **pairs}]}, "study.yaml")
