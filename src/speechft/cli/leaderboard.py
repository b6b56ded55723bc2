"""What `speechft leaderboard` shows: published rows beside one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechft.cli.console import output

if TYPE_CHECKING:
    from speechft.reporting.leaderboard.ranking import Leaderboard
    from speechft.reporting.settings import LeaderboardSettings


def show(board: Leaderboard, _settings: LeaderboardSettings) -> None:
    """Print the rows, best first."""
    from speechft.reporting.leaderboard.table import terminal_text

    output().print(terminal_text(board), end="", highlight=False, soft_wrap=True)
