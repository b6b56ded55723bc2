"""The options of `speechft finetune` become its settings."""

from __future__ import annotations

import pytest

from speechft.cli.options import read_settings
from speechft.core.errors import SettingsError
from speechft.training.finetune.settings import FinetuneSettings

GIVEN = ["--encoder", "tiny-hubert", "--data", "synthetic:tiny", "--out", "runs/x"]


def read(*options):
    return read_settings(FinetuneSettings, [*GIVEN, *options], "finetune")[0]


def test_several_tasks_early_encoders_and_rehearsal():
    found = read(
        "--task", "pr,sid", "--keep-at", "0.2", "--keep-at", "0.5",
        "--rehearsal-share", "0.1", "--rehearsal-data", "synthetic:pretrain",
    )  # fmt: skip
    assert found.tasks == ("pr", "sid")
    assert found.keep_at == (0.2, 0.5)
    assert (found.rehearsal_share, found.rehearsal_data) == (0.1, "synthetic:pretrain")


def test_what_is_not_given_keeps_its_default():
    found = read(
        "--task", "pc", "--set", "keep_at=[0.25]",
        "--method", "lora", "--set", "adapter_targets=[attention]",
    )  # fmt: skip
    assert found.keep_at == (0.25,)
    assert found.adapter_targets == ("attention",)
    assert found.model_fields_set == {
        *("encoder", "data", "out", "task", "keep_at", "method", "adapter_targets"),
    }


def test_mistakes_are_one_message():
    with pytest.raises(SettingsError, match="above 0 and below 1"):
        read("--task", "pr", "--keep-at", "1.5")
    with pytest.raises(SettingsError, match="go together"):
        read("--task", "pr", "--rehearsal-share", "0.2")
