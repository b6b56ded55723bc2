"""Options of a command from the fields of its settings: read from a command line, and described."""

from __future__ import annotations

import os
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeVar

from speechft.cli.console import columns, width
from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean
from speechft.core.settings import (
    Listed,
    Option,
    Settings,
    apply_overrides,
    descriptions,
    leaves,
    parse_settings,
)
from speechft.core.yaml12 import read_yaml

S = TypeVar("S", bound=Settings)
SET_HELP: Final = "Any setting, as docs/settings.md lists them; a dot leads inside."
CONFIG_HELP: Final = "YAML file of settings; options and --set win over it."
_KINDS: Final = {int: "N", float: "NUMBER", Path: "PATH", str: "TEXT"}


@dataclass(frozen=True)
class Parameter:
    """What a command line may say of one field.

    Attributes:
        field: of the settings.
        name: as typed, "--steps"; "ENCODER" where it is positional.
        help: what it means.
        value: what stands behind the name ("N", "cpu|cuda"); empty for a switch.
        repeated: may be given several times.
        needed: has no default.
        default: as it would be typed; empty if that says nothing.
        listed: commas stand between its items.
        negated: a switch that may be turned off, too.
    """

    field: str
    name: str
    help: str
    value: str = ""
    repeated: bool = False
    needed: bool = False
    default: str = ""
    listed: bool = False
    negated: bool = False

    @property
    def positional(self) -> bool:
        """Whether it is given without its name."""
        return not self.name.startswith("-")

    @property
    def shown(self) -> str:
        """Its name and value, for people."""
        if self.positional:
            return f"{self.name}…" if self.repeated else self.name
        name = f"{self.name}/--no-{self.name[2:]}" if self.negated else self.name
        return f"{name} {self.value}".rstrip()

    @property
    def text(self) -> str:
        """What it means, whether it is needed, may be repeated, and what it is otherwise."""
        marks = ["needed"] if self.needed else []
        marks += ["repeatable"] if self.repeated and not self.positional else []
        marks += [f"default: {self.default}"] if self.default else []
        return self.help + (f" [{'; '.join(marks)}]" if marks else "")


class Own(Settings):
    """Options of a command that is no stage; `--set` is of something else, as `sets` says."""

    sets: ClassVar[str] = ""


class AtOnce(NamedTuple):
    """A switch that does something else than its command, whatever else is given."""

    help: str
    do: Callable[[], None]


def parameters_of(kind: type[Settings]) -> list[Parameter]:
    """Give what the command line shows of settings, positional ones first."""
    said = descriptions(kind)
    found = []
    for field, info in kind.model_fields.items():
        mark = next((one for one in info.metadata if isinstance(one, Option)), None)
        if mark is not None:
            found.append(_parameter(field, info, mark, said[field]))
    own = kind.sets if issubclass(kind, Own) else None
    if own is None:
        found.append(Parameter("", "--config", CONFIG_HELP, "FILE"))
    if own != "":
        found.append(Parameter("", "--set", own or SET_HELP, "KEY=VALUE", repeated=True))
    return sorted(found, key=lambda one: not one.positional)


def read_settings(kind: type[S], arguments: Sequence[str], command: str) -> tuple[S, list[str]]:
    """Read a command line.

    Args:
        kind: the settings class.
        arguments: behind the command's name.
        command: for messages.

    Returns:
        The settings, and what `--set` said where that is of something else.

    Raises:
        SettingsError: an option is unknown or lacks its value, or settings are wrong.
    """
    values, overrides = read_options(parameters_of(kind), arguments, command)
    config = values.pop("", None)
    values = {**(read_yaml(Path(config)) if config else {}), **values}
    if not issubclass(kind, Own):
        values, overrides = apply_overrides(values, overrides), []
    return parse_settings(kind, values, where=config or f"speechft {command}"), overrides


def read_options(
    parameters: Sequence[Parameter], arguments: Sequence[str], command: str
) -> tuple[dict[str, Any], list[str]]:
    """Give field → text (or texts, where it may be repeated), and what `--set` said."""
    by_name = {one.name: one for one in parameters if not one.positional}
    off = {f"--no-{one.name[2:]}": one for one in parameters if not one.value}
    given: dict[str, list[str]] = {}
    loose: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, sign, value = argument.partition("=")
        if argument == "--":
            loose += rest
        elif not argument.startswith("-") or _is_number(argument):
            loose.append(argument)
        elif name in off or (name in by_name and not by_name[name].value):
            if sign:
                raise _wrong(f"{name} takes no value", command, found=argument)
            given[(off.get(name) or by_name[name]).name] = [str(name not in off).lower()]
        elif name in by_name:
            text = value if sign else next(rest, None)
            if text is None:
                raise _wrong(f"{name} lacks its value", command, expected=by_name[name].shown)
            given.setdefault(name, []).append(text)
        else:
            hint = did_you_mean(name, [*by_name, *off])
            if os.path.exists(argument):
                hint = f"write './{argument}' for the file"
            raise _wrong(f"there is no option {name}", command, hint=hint)
    overrides = given.pop("--set", [])
    values = {by_name[name].field: _value(by_name[name], texts) for name, texts in given.items()}
    return values | _placed(parameters, loose, command), overrides


def help_text(
    command: str, about: str, example: str, kind: type[Settings], at_once: Mapping[str, AtOnce]
) -> str:
    """Give the help of a command.

    Args:
        command: its name.
        about: what it does.
        example: a command line.
        kind: the settings class.
        at_once: switches that do something else.
    """
    parameters = parameters_of(kind)
    places = [(one.shown, one.text) for one in parameters if one.positional]
    options = [(one.shown, one.text) for one in parameters if not one.positional]
    options += [(name, one.help) for name, one in at_once.items()] + [("-h, --help", "Show this.")]
    usage = ["speechft", command, *(name for name, _ in places), "[OPTIONS]"]
    parts = [f"Usage: {' '.join(usage)}", textwrap.fill(about, width(), break_on_hyphens=False)]
    parts.append(textwrap.indent(example, "  "))
    parts += [f"Arguments:\n{columns(places, width())}"] if places else []
    parts.append(f"Options:\n{columns(options, width())}")
    return "\n\n".join(parts) + "\n"


def _parameter(field: str, info: Any, mark: Option, text: str) -> Parameter:
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    kinds = leaves(info.annotation) - {type(None)}
    name = (mark.name or field).replace("_", "-")
    several = mark.repeated or _is_tuple(info.annotation)
    switch = kinds == {bool}
    return Parameter(
        field,
        name.upper() if mark.positional else f"--{name}",
        (text[:1].upper() + text[1:]).replace("`", ""),
        "" if switch else _choices(info.annotation) or _kind(kinds),
        repeated=several,
        needed=info.is_required(),
        default=_typed(default),
        listed=Listed in info.metadata,
        negated=switch and default is not False,
    )


def _is_tuple(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple or any(map(_is_tuple, typing.get_args(hint)))


def _choices(hint: Any) -> str:
    """Give the words of a literal; nothing where other things would do, too."""
    args = [one for one in typing.get_args(hint) if one is not type(None)]
    if typing.get_origin(hint) is Literal:
        return "|".join(map(str, args))
    return _choices(args[0]) if len(args) == 1 else ""


def _kind(kinds: set[Any]) -> str:
    return next((word for kind, word in _KINDS.items() if kinds == {kind}), "VALUE")


def _typed(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None or isinstance(value, bool) or value == {} else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "-"
    return True


def _value(parameter: Parameter, texts: list[str]) -> Any:
    if not parameter.repeated:
        return texts[-1]
    return ",".join(texts) if parameter.listed else tuple(texts)


def _placed(parameters: Sequence[Parameter], loose: list[str], command: str) -> dict[str, Any]:
    """Give what stands without a name to the positional fields, in order."""
    values: dict[str, Any] = {}
    for place in (one for one in parameters if one.positional):
        if loose and place.repeated:
            values[place.field], loose = tuple(loose), []
        elif loose:
            values[place.field], loose = loose[0], loose[1:]
    if loose:
        named = [one.shown for one in parameters if not one.positional and one.needed]
        raise _wrong(
            "this stands behind no option, and there is no place for it",
            command,
            found=" ".join(loose),
            expected=", ".join(named) or None,
            hint=f"speechft {command} --help shows all options",
        )
    return values


def _wrong(what: str, command: str, **details: Any) -> SettingsError:
    return SettingsError(what, where=f"speechft {command}", **details)
