"""`speechft leaderboard`: published rows beside one's own, of one suite."""

from __future__ import annotations

from speechft.core.files import write_text
from speechft.core.logging import get_logger
from speechft.reporting.leaderboard.ranking import Leaderboard, make_leaderboard
from speechft.reporting.leaderboard.show import markdown
from speechft.reporting.settings import LeaderboardSettings

_logger = get_logger(__name__)


def leaderboard(settings: LeaderboardSettings) -> Leaderboard:
    """Rank encoders that were measured on one suite; published rows are marked as such.

    Raises:
        DataError: a folder holds no results, or scores that cannot be compared.
        SettingsError: the folders hold nothing of the suite.
    """
    board = make_leaderboard(settings.runs, settings.suite)
    if settings.out is not None:
        write_text(settings.out, markdown(board))
        _logger.info("leaderboard: %s", settings.out)
    return board
