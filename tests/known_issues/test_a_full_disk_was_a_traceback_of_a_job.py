"""A full disk in a job of `evaluate` or `run` was "something unexpected", with a traceback.

And a run that could write its recipe and no more took its own folder for somebody else's; a
TensorBoard that could not write said that it "does not start", beside a traceback of its thread.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from recipe_fixture import settings

from speechft.cli import error_messages
from speechft.pipeline.recipe import stage
from speechft.training import trackers

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a/b")


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        RuntimeError(f"Traceback (most recent call last):\n  x\nOSError: {FULL}\n"),
        RuntimeError(f"2 jobs failed\n\nThe first one:\nOSError: {FULL}"),
    ],
)
def test_it_is_one_message(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert error_messages.explain(error, ["evaluate"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Error: no space left on the disk")
    assert said[1:] == ["  where:    /a/b"]


def test_a_run_knows_its_folder_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = stage.plan_run(settings("tiny-hubert"), tmp_path / "out")

    def full(path: Path, *_: object) -> None:
        path.with_name(f"{path.name}.half").write_text("")
        raise FULL

    for name in ("write_text", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(stage, name, full)
            with pytest.raises(OSError, match="No space left"):
                stage._describe(settings("tiny-hubert"), plan)
        stage._refuse_foreign(plan.out)


def test_a_tracker_that_cannot_write_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(trackers, "_opened", full)
    with pytest.raises(OSError, match="No space left"):
        trackers.Tracker("tensorboard", tmp_path)
