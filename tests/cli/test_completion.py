"""`speechft --completion bash` prints a script that bash runs: commands, options, their words."""

from __future__ import annotations

import subprocess

import pytest

from speechft.cli.app import main
from speechft.cli.completion import SHELLS, script
from speechft.core.errors import SettingsError


@pytest.fixture(scope="module")
def bash() -> str:
    return script("bash")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fine", "finetune"),
        ("data ch", "check"),
        ("finetune --head-s", "--head-size"),
        ("finetune --head-size mi", "mini"),
        ("data check --he", "--help"),
        ("evaluate --head-size su", "superb"),
        ("merge tiny-hubert x --heads re", "refit"),
        ("merge nothing-like-it", ""),
    ],
)
def test_bash_completes(bash: str, line: str, expected: str):
    words = ["speechft", *line.split(" ")]
    quoted = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _speechft; echo ${{COMPREPLY[*]}}"
    done = subprocess.run(["bash", "-c", bash + ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
    assert done.stderr == ""


def test_the_command_prints_it_and_refuses_other_shells(bash: str, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--completion", "bash"])
    assert not ended.value.code
    assert capsys.readouterr().out == bash
    assert script("zsh").endswith(bash)
    assert SHELLS == ("bash", "zsh")
    with pytest.raises(SettingsError, match="bash or zsh"):
        script("fish")
