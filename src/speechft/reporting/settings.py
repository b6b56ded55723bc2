"""Settings of `speechft report`, `speechft leaderboard` and `speechft push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from speechft.core.artifact import FileInput, Neutral
from speechft.core.settings import Settings


class ReportSettings(Settings):
    """Settings of `speechft report`.

    Args:
        runs: run folders; each holds `results.jsonl`, or folders that do.
        out: folder for `report.html`, `report.md` and `figures/`.
        title: heading; made from the run's name if not given.
    """

    runs: tuple[FileInput, ...] = Field(min_length=1)
    out: Annotated[Path, Neutral]
    title: str | None = None


class LeaderboardSettings(Settings):
    """Settings of `speechft leaderboard`.

    Args:
        runs: run folders; each holds `results.jsonl`, or folders that do.
        suite: show this suite alone; needed where the runs hold several, or where there is no run.
        out: Markdown file.
    """

    runs: tuple[FileInput, ...] = ()
    suite: str | None = None
    out: Annotated[Path | None, Neutral] = None


class PushSettings(Settings):
    """Settings of `speechft push`.

    Args:
        folder: an encoder in the Hugging Face layout, or the folder of a run that made one; without
            a card of its own it gets one that says how it was made.
        repo: where it goes, OWNER/NAME.
        private: whether a new repository is private.
        scores: results of `speechft evaluate`: files, or folders that hold such files; those of
            this encoder (by the hash of its weights) go into the card, means over seeds.
        message: of the commit.
    """

    folder: FileInput
    repo: str
    private: bool = False
    scores: tuple[FileInput, ...] = ()
    message: str = "Upload an encoder with speechft"
