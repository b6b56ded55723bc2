"""How the commands show things: columns of text, and a console on standard output."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from speechft.core.escaping import printable_lines

if TYPE_CHECKING:
    from rich.console import Console


def width() -> int:
    """Give the columns that help may take: those of the terminal, from 60 to 100."""
    return min(100, max(60, shutil.get_terminal_size((80, 24)).columns))


def columns(rows: Sequence[tuple[str, str]], width: int) -> str:
    """Lay out names and texts side by side; a name of over 24 columns has a line of its own.

    Args:
        rows: names and texts.
        width: columns of all.
    """
    left = 4 + min(24, max(len(name) for name, _ in rows))
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, width - left, break_on_hyphens=False) or [""]
        beside = wrapped.pop(0) if len(name) <= left - 4 else ""
        lines.append(f"  {name}".ljust(left) + beside)
        lines += [" " * left + line for line in wrapped]
    return "\n".join(line.rstrip() for line in lines)


def output() -> Console:
    """Give a console for results; 80 columns where standard output is no terminal.

    Texts are shown as they are: names that others chose are no markup and cannot steer a terminal.
    """
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str(printable_lines(text), **how)

    console = Plain(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        return console
    return Plain(width=80, highlight=False, markup=False, emoji=False, soft_wrap=True)
