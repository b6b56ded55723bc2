from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.markup import escape, render

import speechft
from speechft.cli.app import load_command, main
from speechft.cli.commands import COMMANDS
from speechft.tasks import TASKS

PACKAGE = Path(speechft.__file__).parent


@pytest.fixture
def shown(capsys, monkeypatch):
    """Give a command's help at 80 columns, without frames and spaces, so that lines join."""

    def call(*command: str) -> str:
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        return re.sub(r"[\s│]+", "", capsys.readouterr().out)

    return call


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_no_help_text_is_taken_as_markup(entry):
    command = load_command(entry)
    for one in getattr(command, "commands", {"": command}).values():
        for parameter in one.params:
            said = (getattr(parameter, "help", None) or "").replace("\\[", "[")
            assert render(parameter.help or "", emoji=False).plain == said, escape(said)


@pytest.mark.parametrize("command", [("finetune",), ("evaluate",), ("data", "check")])
def test_help_says_what_synthetic_data_may_be(shown, command):
    assert "synthetic[:PRESET[@LANGUAGE]]" in shown(*command)


@pytest.mark.parametrize("command", ["finetune", "evaluate"])
def test_help_names_the_packaged_encoders(shown, command):
    packaged = [path.parent.name for path in (PACKAGE / "assets").glob("*/config.json")]
    assert packaged
    assert not [name for name in packaged if name not in shown(command)]


def test_help_names_all_tasks(shown):
    (said,) = re.findall(r"Of(pr,.*?);commas", shown("evaluate").replace("<str>", ""))
    assert set(said.split(",")) == set(TASKS)


def test_help_names_the_packaged_recipes(shown):
    recipes = (PACKAGE / "recipes").glob("*.yaml")
    chains = [path.stem for path in recipes if "\nfinetune:" in path.read_text()]
    assert "demo" in chains
    assert not [name for name in chains if name not in shown("run")]


def test_no_command_offers_completion(shown):
    assert "completion" not in shown("data") + shown()
