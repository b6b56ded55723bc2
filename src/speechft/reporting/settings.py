"""Settings of `speechft report`, `speechft leaderboard` and `speechft push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from speechft.core.artifact import FileInput, Input, Neutral, file_id
from speechft.core.errors import CheckpointError, DataError
from speechft.core.paths import home_expanded
from speechft.core.settings import Positional, Settings, Shown


def refuse_absent_run(folder: str | Path) -> None:
    """Look for the folder of a run.

    Raises:
        DataError: there is none.
    """
    if not Path(folder).is_dir():
        raise DataError("no such run folder", where=folder, hint="check the path")


def _look(folder: str) -> None:
    if not home_expanded(folder).is_dir():
        raise CheckpointError("no such folder", where=folder, hint="check the path")


RunFolder = Annotated[Path, Input(file_id, refuse_absent_run)]


class ReportSettings(Settings):
    """Settings of `speechft report`.

    Args:
        runs: run folders; each holds `results.jsonl`, or folders that do.
        out: folder for `report.html`, `report.md`, `table.csv`, `table.tex` and `figures/`.
        title: heading; made from the run's name if not given.
        audio: put the audio of the utterances that it shows into the page. Whoever gets the page
            can then hear them.
    """

    runs: Annotated[tuple[RunFolder, ...], Positional] = Field(min_length=1)
    out: Annotated[Path, Neutral, Shown]
    title: Annotated[str | None, Shown] = None
    audio: Annotated[bool, Shown] = False


class LeaderboardSettings(Settings):
    """Settings of `speechft leaderboard`.

    Args:
        runs: run folders; each holds `results.jsonl`, or folders that do.
        suite: show this suite alone; needed where the runs hold several, or where there is no run.
        out: Markdown file.
    """

    runs: Annotated[tuple[RunFolder, ...], Positional] = ()
    suite: Annotated[str | None, Shown] = None
    out: Annotated[Path | None, Neutral, Shown] = None


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

    folder: Annotated[Path, Input(file_id, _look), Positional]
    repo: Annotated[str, Positional]
    private: Annotated[bool, Shown] = False
    scores: Annotated[tuple[FileInput, ...], Shown] = ()
    message: Annotated[str, Shown] = "Upload an encoder with speechft"
