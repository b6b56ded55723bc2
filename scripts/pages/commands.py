"""docs/cli.md, from the commands themselves."""

from __future__ import annotations

CLI_HEAD = """# Commands

Written by `make docs` from the commands themselves, whose options are fields of
[settings](settings.md). Every command also answers `--help`.

Exit codes: 0 done, 2 settings or usage, 3 data, 4 checkpoint, 1 anything unexpected, 130 stopped
by Ctrl-C, 143 by SIGTERM. In front of a command: `-v` says more, `-q` only warnings, `--debug`
shows the traceback of an error.
"""


NOT_RUN = "<!-- not run: names stand for yours -->"


def cli_page() -> str:
    """Give docs/cli.md."""
    from speechft.cli.app import parts_of
    from speechft.cli.command_table import COMMANDS
    from speechft.cli.options import parameters_of

    lines = [CLI_HEAD]
    for command in COMMANDS:
        parts = parts_of(command)
        lines += [f"## {command.name}\n", f"{parts.about}\n"]
        lines += [NOT_RUN, "```sh", parts.example, "```", ""]
        lines += ["| | |", "| --- | --- |"]
        rows = [(one.shown, one.text) for one in parameters_of(parts.settings)]
        rows += [(name, one.help) for name, one in parts.at_once.items()]
        for name, text in rows:
            escaped = text.replace("|", "\\|")
            lines.append(f"| `{name.replace('|', ', ')}` | {escaped} |")
        lines.append("")
    return "\n".join(lines)
