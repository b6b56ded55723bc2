"""`speechft`: finds the command, imports only that one, and turns errors into messages and codes.

Exit codes: 0 done, 2 settings or usage, 3 data, 4 checkpoint, 1 anything unexpected, 130 stopped
by Ctrl-C.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from speechft.cli.commands import COMMANDS, CommandEntry

_ENTRIES = {entry.name: entry for entry in COMMANDS}

HELP = """Make a speech encoder better with your data, without losing what it was good at.

A first look takes a few minutes on a laptop:  speechft demo --out runs/demo"""


class Interrupted(Exception):
    """Ctrl-C, kept apart from the exits that commands ask for."""


class LazyGroup(TyperGroup):
    """A group whose help comes from a table; a command's module is imported when it is called."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for entry in COMMANDS:
            self.add_command(_stub(entry))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the real command in the place of the one that only carries the help line."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(_ENTRIES[name]) if name in _ENTRIES else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C leaves as `Interrupted`."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None


def load_command(entry: CommandEntry) -> Any:
    """Import a command's module and give its command object."""
    module = importlib.import_module(entry.module)
    if hasattr(module, "app"):
        module.app.info.name = entry.name
        module.app.info.help = module.app.info.help or entry.help
        return typer.main.get_command(module.app)
    app = typer.Typer(**_TYPER)
    app.command(entry.name)(module.command)
    command = typer.main.get_command(app)
    command.name = entry.name
    return command


def _stub(entry: CommandEntry) -> TyperCommand:
    return TyperCommand(
        entry.name, callback=None, help=entry.help, rich_help_panel=entry.panel, params=[]
    )


_TYPER: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": "rich",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
application = typer.Typer(cls=LazyGroup, no_args_is_help=True, help=HELP, **_TYPER)


def _show_version(wanted: bool) -> None:
    if wanted:
        from speechft._version import __version__

        typer.echo(f"speechft {__version__}")
        raise typer.Exit


@application.callback()
def options(
    ctx: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Options in front of the command."""
    del version
    ctx.obj = {"debug": debug}
    from speechft.core.logging import set_up_logging

    set_up_logging(1 if verbose else -1 if quiet else 0)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `speechft` command; always ends in `SystemExit`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = typer.main.get_command(application)
    try:
        code = command.main(arguments, prog_name="speechft", standalone_mode=False)
    except BaseException as error:
        from speechft.cli.failures import explain

        sys.exit(explain(error, arguments))
    sys.exit(code if isinstance(code, int) else 0)
