"""Texts that others chose (names, labels, paths), fit for a message, for Markdown or a path."""

from __future__ import annotations

import re
from typing import Final

_MARKDOWN: Final = re.compile(r"[\\`*_<|]|(?<=\])\(")

_LONGEST_LINE: Final = 2000


def printable(text: str) -> str:
    r"""Give a text in one line: control characters and lone surrogates as escapes like `\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Give a text of several lines, each as `printable` gives it; the middle of long ones goes."""
    return "\n".join(printable(_shortened(line)) for line in text.split("\n"))


def _shortened(line: str) -> str:
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} … {line[-half:]}"


def markdown_text(text: str) -> str:
    """Give a text as it stands in Markdown, so that none of it is markup, in a table or not."""
    return _MARKDOWN.sub(lambda found: f"\\{found.group()}", printable(text))


def task_heading(tasks: str) -> str:
    """Give a task, or several with commas between, as a heading: `SID`, `CLASSIFY:dialect`."""
    parts = [one.partition(":") for one in tasks.split(",")]
    return ",".join(f"{kind.upper()}{sign}{column}" for kind, sign, column in parts)


def fenced(text: str, language: str = "") -> str:
    """Give a text as a block of code that it cannot end itself."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def file_name(text: str) -> str:
    """Give a name for a file: of letters, digits, `.`, `_` and `-` alone, and not too long."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:100] or "unnamed"
