from __future__ import annotations

import re
from pathlib import Path

import pytest

import speechft
from speechft.cli.app import main
from speechft.cli.command_table import COMMANDS
from speechft.tasks import TASKS

PACKAGE = Path(speechft.__file__).parent


@pytest.fixture
def shown(capsys, monkeypatch):
    """Give a command's help at 80 columns, without spaces, so that lines join."""

    def call(*command: str) -> str:
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        return re.sub(r"\s+", "", capsys.readouterr().out)

    return call


@pytest.mark.parametrize("command", [("finetune",), ("evaluate",), ("data", "check")])
def test_help_says_what_synthetic_data_may_be(shown, command):
    assert "synthetic[:PRESET[@LANGUAGE]]" in shown(*command)


@pytest.mark.parametrize("command", ["finetune", "evaluate"])
def test_help_names_the_packaged_encoders(shown, command):
    packaged = [path.parent.name for path in (PACKAGE / "assets").glob("*/config.json")]
    assert "fbank" in packaged
    if command == "finetune":
        packaged.remove("fbank")  # it has no weights to train
    assert not [name for name in packaged if name not in shown(command)]


def test_help_names_all_tasks(shown):
    (said,) = re.findall(r"Of(pr,.*?);commas", shown("evaluate"))
    codes, columns = said.split(",andonanycolumnofatable")
    assert set(codes.split(",")) == set(TASKS)
    assert columns.split(",") == ["classify:COLUMN", "regress:COLUMN", "ctc:COLUMN"]


def test_help_names_the_packaged_recipes(shown):
    recipes = (PACKAGE / "recipes").glob("*.yaml")
    chains = [path.stem for path in recipes if "\nfinetune:" in path.read_text()]
    assert "demo" in chains
    assert not [name for name in chains if name not in shown("run")]


def test_functions_of_the_api_have_readable_signatures() -> None:
    import inspect

    import speechft

    signature = inspect.signature(speechft.merge)
    assert signature.parameters["base"].default is inspect.Parameter.empty
    assert str(signature.parameters["tuned"]) == "tuned: tuple[str, ...]"
    for verb in (speechft.merge, speechft.finetune, speechft.evaluate):
        assert "Undefined" not in str(inspect.signature(verb))
        assert "Annotated" not in str(inspect.signature(verb))


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_help_fits_into_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
