"""`speechft leaderboard`: one's own rows beside published ones."""

from __future__ import annotations

from pathlib import Path

from speechft.core.files import write_text
from speechft.core.logging import get_logger
from speechft.core.paths import in_the_way
from speechft.reporting.leaderboard.ranking import Leaderboard, make_leaderboard
from speechft.reporting.leaderboard.table import HEADING, markdown
from speechft.reporting.settings import LeaderboardSettings

_logger = get_logger(__name__)


def leaderboard(settings: LeaderboardSettings) -> Leaderboard:
    """Rank encoders that were measured on one suite; published rows are marked as such.

    Raises:
        DataError: a folder holds no results, or scores that cannot be compared.
        SettingsError: the folders hold nothing of the suite, or another file is in the output's
            place.
    """
    out = settings.out
    if out is not None and out.exists() and not _is_ours(out):
        expected = "no file, or an earlier leaderboard"
        raise in_the_way(out, [out.name], expected, "choose another --out")
    board = make_leaderboard(settings.runs, settings.suite)
    if settings.out is not None:
        write_text(settings.out, markdown(board))
        _logger.info("leaderboard: %s", settings.out)
    return board


def _is_ours(file: Path) -> bool:
    return file.is_file() and file.read_text("utf-8", "replace").startswith(HEADING)
