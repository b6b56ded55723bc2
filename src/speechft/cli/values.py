"""What the commands share: from options to settings, and a console on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console

from speechft.core.settings import Settings, apply_overrides, parse_settings

S = TypeVar("S", bound=Settings)
SET_HELP = "Any other setting as key=value; may be repeated."


def settings_from(
    kind: type[S],
    command: str,
    given: Mapping[str, Any],
    overrides: Sequence[str] | None,
    base: Mapping[str, Any] | None = None,
) -> S:
    """Build a stage's settings.

    Args:
        kind: the settings class.
        command: for messages.
        given: the options; what was not given (`None`) keeps the base's value or the default.
        overrides: `key=value` of `--set`, which win.
        base: values from a file.
    """
    values = dict(base or {}) | {k: v for k, v in given.items() if v is not None}
    return parse_settings(kind, apply_overrides(values, overrides or ()), f"speechft {command}")


def output() -> Console:
    """Give a console for results; 80 columns where standard output is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=80, highlight=False, soft_wrap=True)
