"""The options of `speechft finetune` become its settings."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from speechft.cli.finetune import command
from speechft.core.errors import SettingsError
from speechft.training.finetune import stage

GIVEN = ["--encoder", "tiny-hubert", "--data", "synthetic:tiny", "--out", "runs/x"]


@pytest.fixture
def call(monkeypatch):
    seen = []
    monkeypatch.setattr(stage, "finetune", lambda s: (seen.append(s), s.out)[1])
    app = typer.Typer()
    app.command()(command)

    def run(*options):
        done = CliRunner().invoke(app, [*GIVEN, *options])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return seen[-1]

    return run


def test_several_tasks_early_encoders_and_rehearsal(call):
    found = call(
        "--task", "pr,sid", "--keep-at", "0.2", "--keep-at", "0.5",
        "--rehearsal-share", "0.1", "--rehearsal-data", "synthetic:pretrain",
    )  # fmt: skip
    assert found.tasks == ("pr", "sid")
    assert found.keep_at == (0.2, 0.5)
    assert (found.rehearsal_share, found.rehearsal_data) == (0.1, "synthetic:pretrain")


def test_what_is_not_given_keeps_its_default(call):
    found = call(
        "--task", "pc", "--set", "keep_at=[0.25]",
        "--method", "lora", "--set", "adapter_targets=[attention]",
    )  # fmt: skip
    assert found.keep_at == (0.25,)
    assert found.adapter_targets == ("attention",)
    assert found.rehearsal_share == 0.0


def test_mistakes_are_one_message(call):
    with pytest.raises(SettingsError, match="above 0 and below 1"):
        call("--task", "pr", "--keep-at", "1.5")
    with pytest.raises(SettingsError, match="go together"):
        call("--task", "pr", "--rehearsal-share", "0.2")
