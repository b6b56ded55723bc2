"""docs/cli.md, from the commands themselves."""

from __future__ import annotations

import os
import re
from typing import Any

CLI_HEAD = """# Commands

Written by `make docs` from the commands themselves. Every command also answers `--help`.

Exit codes: 0 done, 2 settings or usage, 3 data, 4 checkpoint, 1 anything unexpected, 130 stopped
by Ctrl-C. In front of a command: `-v` says more, `-q` only warnings, `--debug` shows the traceback
of an error.
"""


def cli_page() -> str:
    """Give docs/cli.md."""
    os.environ["COLUMNS"] = "80"
    from speechft.cli.app import load_command
    from speechft.cli.commands import COMMANDS

    parts = [CLI_HEAD]
    for entry in COMMANDS:
        command = load_command(entry)
        parts.append(f"## {entry.name}\n")
        if hasattr(command, "commands"):
            parts.append(f"{entry.help}\n")
            for name, inner in command.commands.items():
                parts.append(_command(f"{entry.name} {name}", inner, 3))
        else:
            parts.append(_command(entry.name, command, 0))
    return "\n".join(parts)


def _command(name: str, command: Any, level: int) -> str:
    lines = [f"{'#' * level} {name}\n"] if level else []
    about, _, example = (command.help or "").partition("\n\n")
    lines.append(" ".join(about.split()) + "\n")
    if example.strip():
        lines += ["```sh", *(line.strip() for line in example.strip().splitlines()), "```", ""]
    lines += ["| | |", "| --- | --- |"]
    for parameter in command.params:
        if "--help" in parameter.opts:
            continue
        names = parameter.opts if parameter.opts[0].startswith("-") else [_argument(parameter)]
        shown = ", ".join(f"`{n}`" for n in names)
        needed = " (needed)" if parameter.required and names[0].startswith("-") else ""
        text = re.sub(r"\s+", " ", getattr(parameter, "help", "") or "").replace("|", "\\|")
        text = text.replace("\\[", "[")  # what keeps Rich from taking it as markup
        lines.append(f"| {shown}{needed} | {text}{_default(parameter)} |")
    return "\n".join([*lines, ""])


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper()
    return f"{name}…" if parameter.nargs == -1 else name


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value is False or callable(value) or value in ((), [], ""):
        return ""
    return "" if "default" in (parameter.help or "") else f" Default: {value}."
