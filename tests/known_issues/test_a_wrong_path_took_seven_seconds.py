"""A path that was mistyped was said after seven seconds: torch was imported first."""

from __future__ import annotations

from pathlib import Path

import pytest
from light_commands import ended

_TUNE = ["--task", "sid", "--steps", "1", "--out", "out"]
_PRETRAIN = ["--layer", "1", "--clusters", "2", "--steps", "1", "--out", "out"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["finetune", "--encoder", "nowhere", "--data", "synthetic:tiny", *_TUNE], 4),
        (["finetune", "--encoder", "tiny-hubert", "--data", "nowhere.csv", *_TUNE], 3),
        (["evaluate", "tiny-hubert", "runs/a/b", "--data", "synthetic", "--out", "out"], 4),
        (["evaluate", "tiny-hubert", "--data", "nowhere.csv", "--out", "out"], 3),
        (["pretrain", "--init", "nowhere.pt", "--data", "synthetic", *_PRETRAIN], 4),
        (["pretrain", "--init", "tiny-hubert", "--data", "nowhere", *_PRETRAIN], 3),
        (["analyze", "tiny-hubert", "nowhere", "--data", "synthetic", "--out", "out"], 4),
        (["merge", "tiny-hubert", "nowhere", "--out", "out"], 4),
        (["embed", "nowhere", "a.wav", "--out", "out.npz"], 4),
        (["predict", "nowhere", "a.wav"], 4),
        (["convert", "nowhere", "out", "--to", "hf"], 4),
        (["inspect", "nowhere"], 4),
        (["study", "nowhere", "--out", "out"], 2),
        (["study", "nowhere.yaml", "--dry-run"], 2),
        (["data", "check", "nowhere.csv"], 3),
        (["data", "prepare", "nowhere", "--out", "out"], 3),
        (["report", "nowhere", "--out", "out"], 3),
        (["leaderboard", "nowhere"], 3),
        (["push", "nowhere", "me/encoder"], 4),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_it_is_said_before_anything_large_is_imported(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    done = ended(*arguments, cwd=tmp_path)
    assert (done.code, done.shown, done.imported) == (code, "", set()), done.said
    assert "nowhere" in done.said or "runs/a/b" in done.said
    assert not list(tmp_path.iterdir())
