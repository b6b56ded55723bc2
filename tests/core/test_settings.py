import re
from typing import Annotated

import pytest
from pydantic import Field, model_validator

from speechft.core.errors import SettingsError
from speechft.core.registry import Registry
from speechft.core.settings import Listed, Settings, apply_overrides, parse_settings
from speechft.core.yaml12 import read_yaml


class Inner(Settings):
    steps: int = Field(default=10, gt=0)
    learning_rate: float = 1e-4


class Outer(Settings):
    name: str
    finetune: Inner = Inner()
    rounds: tuple[Inner, ...] = ()
    maybe: Inner | None = None


def message(values):
    with pytest.raises(SettingsError) as caught:
        parse_settings(Outer, values, "recipe.yaml")
    return str(caught.value)


def test_all_mistakes_are_reported_at_once_with_the_nearest_key():
    text = message({"nme": "x", "finetune": {"step": 3, "learning_rate": "fast"}})
    assert "finetune.step: unknown key; did you mean 'steps'?" in text
    assert "nme: unknown key; did you mean 'name'" in text
    assert "name: missing" in text
    assert "finetune.learning_rate" in text
    assert "'fast'" in text
    assert "recipe.yaml" in text
    assert "4 settings are wrong" in text


@pytest.mark.parametrize(
    ("values", "where"),
    [({"rounds": [{"stepz": 1}]}, "rounds.0.stepz"), ({"maybe": {"stepz": 1}}, "maybe.stepz")],
)
def test_nearest_key_inside_lists_and_unions(values, where):
    assert f"{where}: unknown key; did you mean 'steps'?" in message({"name": "x", **values})


def test_a_value_out_of_range_names_the_key():
    assert "finetune.steps" in message({"name": "x", "finetune": {"steps": 0}})


def test_overrides_reach_into_sections_and_read_yaml_values():
    values = {"name": "x", "finetune": {"steps": 1}}
    result = apply_overrides(
        values, ["finetune.steps=5", "finetune.learning_rate=1.0e-3", "a.b=[1, 2]"]
    )
    assert result == {
        "name": "x",
        "finetune": {"steps": 5, "learning_rate": 1e-3},
        "a": {"b": [1, 2]},
    }
    assert values == {"name": "x", "finetune": {"steps": 1}}


@pytest.mark.parametrize("override", ["steps", "=3", "name.deeper=1", "a=[1"])
def test_a_bad_override_is_refused(override):
    with pytest.raises(SettingsError, match=r"override|value|YAML"):
        apply_overrides({"name": "x"}, [override])


@pytest.mark.parametrize(
    ("content", "words"), [("", "no settings"), ("- a\n", "no settings"), ("a: [1", "not YAML")]
)
def test_bad_yaml_is_one_clear_error(tmp_path, content, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=words) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "key", "lines"),
    [
        ("finetune:\n  steps: 1\nname: x\n'finetune':\n  steps: 2\n", "finetune", (1, 4)),
        ("rounds:\n  - inner:\n      steps: 1\n      steps: 1\n", "steps", (3, 4)),
        ('{"a": 1, "a": 2}', "a", (1, 1)),
        ("one: &a {b: 1, b: 2}\ntwo:\n  <<: *a\n", "b", (1, 1)),
    ],
)
def test_a_key_given_twice_is_refused_with_its_lines(tmp_path, content, key, lines):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=f"the key '{key}' is given twice") as caught:
        read_yaml(path)
    assert caught.value.found == f"in line {lines[0]}, and again in line {lines[1]}"
    assert caught.value.where == str(path)


def test_merge_keys_may_be_overridden(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "a: &a {x: 1, y: 1}\nb: &b\n  <<: *a\n  x: 2\nc:\n  <<: *b\n  y: 3\nd:\n  <<: [*b, *a]\n"
        "e:\n  <<: *a\n  <<: *b\n"
    )
    values = read_yaml(path)
    assert values["b"] == values["d"] == {"x": 2, "y": 1}
    assert values["c"] == {"x": 2, "y": 3}


def test_missing_yaml(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        read_yaml(tmp_path / "nothing.yaml")


def test_registry_refuses_a_second_entry_and_names_the_nearest():
    methods: Registry[int] = Registry("merge method")
    methods.register("linear")(1)
    with pytest.raises(ValueError, match="twice"):
        methods.register("linear")(2)
    with pytest.raises(SettingsError, match="unknown merge method 'liner'") as caught:
        methods["liner"]
    assert "did you mean 'linear'?" in str(caught.value)


class Whole(Settings):
    seeds: tuple[int, ...] = (0,)
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _distinct(self):
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds holds a seed twice")
        return self


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"seeds": [1, 1]}, "    seeds holds a seed twice"),
        ({"seeds": "a"}, "    seeds: Input should be a list (found 'a')"),
        ({"inner": "a"}, "    inner: Input should be a mapping of keys to values"),
        ({"seeds": {"a": 1}}, "    seeds: Input should be a list"),
    ],
)
def test_messages_speak_of_lists_and_do_not_repeat_whole_sections(values, line):
    with pytest.raises(SettingsError) as caught:
        parse_settings(Whole, values, "recipe.yaml")
    assert line in str(caught.value).splitlines()[1]
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [float("nan"), float("inf"), ".inf"])
def test_numbers_are_finite(value):
    with pytest.raises(SettingsError, match="learning_rate"):
        parse_settings(Inner, {"learning_rate": value}, "recipe.yaml")


class Several(Settings):
    alpha: float | str | tuple[float | str, ...] | None = None


def test_a_setting_of_several_types_is_one_line():
    with pytest.raises(SettingsError) as caught:
        parse_settings(Several, {"alpha": {"a": 1}}, "recipe.yaml")
    text = str(caught.value)
    assert "1 setting is wrong" in text
    assert "    alpha: Input should be a valid number, or: Input should be" in text
    assert "union" not in text


class Lists(Settings):
    names: Annotated[tuple[str, ...], Listed] = ()
    rates: Annotated[tuple[float, ...] | None, Listed] = None


def test_one_item_or_commas_stand_for_a_list():
    found = parse_settings(Lists, {"names": "pr, sid", "rates": "1e-1"}, "test")
    assert found.names == ("pr", "sid")
    assert found.rates == (0.1,)
    assert parse_settings(Lists, {"names": ["a,b"], "rates": 0.2}, "test").rates == (0.2,)
    assert parse_settings(Lists, {"rates": [1, 2]}, "test").rates == (1.0, 2.0)
    assert Lists().rates is None
    with pytest.raises(SettingsError, match=r"rates\.0: .*number.*'fast'"):
        parse_settings(Lists, {"rates": "fast"}, "test")


def test_a_list_whose_items_are_wrong_is_said_once():
    class Seeds(Settings):
        seeds: Annotated[tuple[int, ...], Listed] = Field(min_length=1)

    with pytest.raises(SettingsError) as error:
        parse_settings(Seeds, {"seeds": "x"}, where="test")
    assert "1 setting is wrong" in str(error.value)
    assert "at least 1 item" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ([{"task": "sid", "stepz": 3}], "finetune.0 (sid).stepz: unknown"),
        ({"task": "sid", "stepz": 3}, "finetune.stepz: unknown"),
        ([{"stepz": 3}], "finetune.0.stepz: unknown"),
    ],
)
def test_an_item_of_a_list_is_named(given, where):
    from speechft.pipeline.recipe.settings import RunSettings

    values = {"name": "a", "encoder": "tiny-hubert", "data": "synthetic", "finetune": given}
    with pytest.raises(SettingsError, match=re.escape(where)):
        parse_settings(RunSettings, values, "here")
