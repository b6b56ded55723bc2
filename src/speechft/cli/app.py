"""`speechft`: finds the command, imports only that one, and turns errors into messages and codes.

Exit codes: 0 done, 2 settings or usage, 3 data, 4 checkpoint, 1 anything unexpected, 130 stopped
by Ctrl-C, 143 by SIGTERM.

Of commands that `accelerate launch` or `torchrun` starts several times only training takes all
processes.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from speechft.api import VERBS, load
from speechft.cli.command_table import COMMANDS, Command
from speechft.cli.console import columns, width
from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean
from speechft.core.stopping import StopRequest

TOGETHER: Final = ("finetune", "pretrain")
_OF_THE_GROUP: Final = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
ABOUT = """Make a speech encoder better with your data, without losing what it was good at.

A first look takes a few minutes on a laptop:  speechft demo --out runs/demo"""
OPTIONS = (
    ("-v, --verbose", "Say more."),
    ("-q, --quiet", "Only warnings."),
    ("--debug", "Show the traceback of an error."),
    ("--version", "Show it."),
    ("--completion SHELL", "For bash or zsh: source <(speechft --completion bash)"),
    ("-h, --help", "Show this."),
)
_HELP = {"-h", "--help"}


class Parts(NamedTuple):
    """What a command is made of.

    Attributes:
        settings: the class whose fields are its options.
        module: of `speechft.cli`, if it has one.
        about, example: for its help.
    """

    settings: Any
    module: Any
    about: str
    example: str

    @property
    def at_once(self) -> dict[str, Any]:
        """Switches that do something else, whatever else is given."""
        return getattr(self.module, "AT_ONCE", {})


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `speechft` command; always ends in `SystemExit`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with StopRequest(command=True):
        try:
            code = _run(arguments)
            sys.stdout.flush()
        except BaseException as error:
            from speechft.cli.error_messages import explain

            code = explain(error, arguments)
    sys.exit(code)


def parts_of(command: Command) -> Parts:
    """Import what a command is made of."""
    module = importlib.import_module(f"speechft.cli.{command.module}") if command.module else None
    verb = VERBS.get(command.name)
    own = getattr(module, "SETTINGS", {}).get(command.name)
    if verb is None:
        return Parts(own, module, command.about, command.example)
    return Parts(own or load(verb.settings), module, verb.about, verb.example)


def _run(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] == "--completion":
        from speechft.cli.completion import script

        print(script(" ".join(arguments[1:])), end="")
        return 0
    count = next((i for i, a in enumerate(arguments) if not a.startswith("-")), len(arguments))
    before, rest = set(arguments[:count]), list(arguments[count:])
    unknown = before - {name for names, _ in OPTIONS for name in names.split(", ")}
    if unknown:
        raise SettingsError(f"there is no option {min(unknown)} in front of a command")
    if "--version" in before:
        from speechft._version import __version__

        print(f"speechft {__version__}")
        return 0
    if before & _HELP or not rest:
        return _list(COMMANDS, ABOUT, "COMMAND", asked=bool(before & _HELP))
    by_name = {command.name: command for command in COMMANDS}
    for count in (2, 1):
        command = by_name.get(" ".join(rest[:count]))
        if command is not None:
            verbosity = bool({"-v", "--verbose"} & before) - bool({"-q", "--quiet"} & before)
            return _call(command, rest[count:], verbosity)
    return _no_command(rest)


def _no_command(rest: list[str]) -> int:
    """Say what there is where no command has this name, or only commands of two words have it."""
    inside = [command for command in COMMANDS if command.name.startswith(f"{rest[0]} ")]
    if inside and (len(rest) == 1 or set(rest) & _HELP):
        return _list(inside, "", f"{rest[0]} COMMAND", asked=len(rest) > 1)
    name = " ".join(rest[:2]) if inside else rest[0]
    known = [command.name for command in inside or COMMANDS]
    raise SettingsError(f"there is no command {name!r}", hint=did_you_mean(name, known))


def _list(commands: Sequence[Command], about: str, usage: str, *, asked: bool) -> int:
    """Show commands; on standard error, with the code of a mistake, where nobody asked."""
    parts = [f"Usage: speechft [OPTIONS] {usage} …", *([about] if about else [])]
    for panel in dict.fromkeys(command.panel for command in commands):
        rows = [(one.name, one.help) for one in commands if one.panel == panel]
        parts.append(f"{panel}:\n{columns(rows, width())}")
    parts.append(f"Options:\n{columns(OPTIONS, width())}")
    print("\n\n".join(parts), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def _call(command: Command, arguments: list[str], verbosity: int) -> int:
    from speechft.cli.options import help_text, read_settings
    from speechft.core.logging import set_up_logging

    parts = parts_of(command)
    if _HELP & set(arguments):
        print(
            help_text(command.name, parts.about, parts.example, parts.settings, parts.at_once),
            end="",
        )
        return 0
    for name in parts.at_once.keys() & set(arguments):
        parts.at_once[name].do()
        return 0
    set_up_logging(verbosity)
    if is_done_by_another(command.name):
        return 0
    verb = VERBS.get(command.name)
    settings, overrides = read_settings(parts.settings, arguments, command.name)
    if verb is None:
        return int(parts.module.command(settings, overrides) or 0)
    from speechft.core.artifact import refuse_absent

    refuse_absent(settings)
    result = load(verb.call)(settings)
    if hasattr(parts.module, "show"):
        parts.module.show(result, settings)
    else:
        print(Path(result) / command.printed if command.printed else result)
    return 0


def is_done_by_another(command: str) -> bool:
    """Say whether the first of the processes does it all; that one then knows of no others."""
    several, rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "0")
    if several == "1" or command in TOGETHER:
        return False
    if rank != "0":
        return True
    for name in _OF_THE_GROUP:
        os.environ.pop(name, None)
    from speechft.core.logging import get_logger

    text = "%s: one of the %s processes that were started does it all"
    get_logger(__name__).warning(text, command, several)
    return False
