"""`speechft leaderboard`: published rows beside one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechft.cli.values import output, settings_from


def command(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Folders of runs or of evaluations.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Show this suite alone: mini, paper4, superb10.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Rank encoders measured on one suite, beside published rows.

    speechft leaderboard runs/hubert runs/mine --out leaderboard.md
    """
    from speechft.reporting.leaderboard.show import terminal_text
    from speechft.reporting.leaderboard.stage import leaderboard
    from speechft.reporting.settings import LeaderboardSettings

    given = {"runs": tuple(runs or ()), "suite": suite, "out": out}
    board = leaderboard(settings_from(LeaderboardSettings, "leaderboard", given, None))
    output().print(terminal_text(board), end="", markup=False, highlight=False, soft_wrap=True)
