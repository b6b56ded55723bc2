"""Options from the fields of settings: every way to write them, and every mistake."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

import speechft
from speechft.api import VERBS, load
from speechft.cli.app import parts_of
from speechft.cli.command_table import COMMANDS
from speechft.cli.options import help_text, parameters_of, read_settings
from speechft.core.errors import SettingsError
from speechft.core.settings import Listed, Option, Positional, Settings, Shown, descriptions


class Things(Settings):
    """Settings of a command.

    Args:
        first: a path.
        more: further ones.
        count: how many.
        kind: of thing.
        names: of things.
        seeds: of things.
        label: text.
        quick: be quick.
        hidden: set by `--set` alone.
    """

    first: Annotated[Path, Positional]
    more: Annotated[tuple[str, ...], Positional] = ()
    count: Annotated[int | None, Shown] = None
    kind: Annotated[Literal["a", "b"], Shown] = "a"
    names: Annotated[tuple[str, ...], Listed, Shown] = ()
    seeds: Annotated[tuple[float, ...], Option("seed")] = (0.0,)
    label: Annotated[str, Shown] = "x"
    quick: Annotated[bool, Shown] = False
    hidden: int = Field(default=1, gt=0)


def read(*arguments: str) -> Things:
    return read_settings(Things, arguments, "things")[0]


def test_every_way_to_write_an_option():
    found = read(
        "p", "--count=3", "q", "--quick", "--seed", "-1", "--seed", "1e-3", "-2", "--kind", "b",
        "--names", "x,y", "--names", "z", "--label", "--odd", "--", "--last",
    )  # fmt: skip
    assert found == Things(
        first=Path("p"), more=("q", "-2", "--last"), count=3, kind="b", names=("x", "y", "z"),
        seeds=(-1.0, 0.001), label="--odd", quick=True,
    )  # fmt: skip
    assert read("p", "--quick", "--no-quick", "--count", "1", "--count", "2").count == 2
    assert not read("p", "--quick", "--no-quick").quick


@pytest.mark.parametrize("text", ["01", "1e3", "no", "2001-01-01", "true", ""])
def test_text_stays_as_it_was_typed(text):
    assert read("p", "--label", text).label == text


def test_set_and_config(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("first: a\ncount: 1\nhidden: 5\nlabel: 01\n")
    found = read("--config", str(config), "--count", "2", "--set", "hidden=7")
    assert (found.first, found.count, found.hidden, found.label) == (Path("a"), 2, 7, "01")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["p", "--cuont", "3"], "did you mean '--count'"),
        (["p", "--count"], "--count lacks its value"),
        (["p", "--quick=3"], "--quick takes no value"),
        ([], "first: missing"),
        (["p", "--count", "x", "--kind", "c"], "2 settings are wrong"),
        (["p", "--set", "hiden=2"], "did you mean 'hidden'"),
        (["p", "--set", "hidden"], "key=value"),
    ],
)
def test_mistakes_are_one_message(arguments, words):
    with pytest.raises(SettingsError, match=words):
        read(*arguments)


def test_too_many_places_are_refused():
    class One(Settings):
        """One place.

        Args:
            only: a place.
        """

        only: Annotated[str, Positional]

    with pytest.raises(SettingsError, match="stands behind no option"):
        read_settings(One, ["a", "b"], "one")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)
def test_every_option_is_described_and_help_fits_80_columns(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    parts = parts_of(command)
    for one in parameters_of(parts.settings):
        assert len(one.help) > 4, one.name
    text = help_text(command.name, parts.about, parts.example, parts.settings, parts.at_once)
    assert max(map(len, text.splitlines())) <= 84
    assert f"speechft {command.name}" in text


@pytest.mark.parametrize("name", VERBS)
def test_functions_have_the_signature_and_words_of_their_settings(name):
    function, kind = getattr(speechft.api, name), load(VERBS[name].settings)
    _, *named = inspect.signature(function).parameters.values()
    assert [one.name for one in named] == list(kind.model_fields)
    assert function.__name__ == name
    for text in descriptions(kind).values():
        assert text in function.__doc__
    with pytest.raises(SettingsError, match=f"speechft.{name}"):
        function(nonsense=1)
