"""Strict settings: unknown keys are errors, all found at once, each with the nearest valid key.

Texts may hold names in braces, and something is put in their places.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean
from speechft.core.yaml12 import as_text, load_yaml


class Option(NamedTuple):
    """Marks a field that commands show; all others are set by `--set`.

    Attributes:
        name: without dashes; the field's own if empty.
        positional: given without a name.
        repeated: may be given several times, though the field takes one value, too.
    """

    name: str = ""
    positional: bool = False
    repeated: bool = False


Shown: Final = Option()
Positional: Final = Option(positional=True)
_LARGEST: Final = 2**63 - 1
_ENTRY = re.compile(r"^    (\w+(?:, \w+)*): (.*)$")


class Settings(BaseModel):
    """Base of all settings: frozen, strict about keys, defaults checked too, numbers finite.

    A field that takes text and no number gets what YAML read as a number as it was written.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="after")
    def _within_bounds(self) -> Self:
        for name, value in self.__dict__.items():
            if isinstance(value, int) and abs(value) > _LARGEST:
                raise ValueError(f"{name} has {len(str(abs(value)))} digits")
            if isinstance(value, Path) and "\0" in str(value):
                raise ValueError(f"{name} holds a zero byte, which no name of a file may")
        return self

    @model_validator(mode="before")
    @classmethod
    def _text_as_written(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        kinds = _kinds_of_text(cls)
        return {
            name: value
            if name not in kinds or (isinstance(value, dict) and not kinds[name])
            else as_text(value)
            for name, value in values.items()
        }


@cache
def _kinds_of_text(kind: type[BaseModel]) -> dict[str, bool]:
    """Give the fields that take text and no number, and whether a mapping in them is of texts."""
    found = {}
    for name, field in kind.model_fields.items():
        types = leaves(field.annotation)
        if types & {str, Path} and not types & {int, float, bool, Any}:
            found[name] = not any(
                isinstance(leaf, type) and issubclass(leaf, BaseModel) for leaf in types
            )
    return found


def leaves(hint: Any) -> set[Any]:
    """Give the types in a hint; of a literal those of its values."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return leaves(args[0])
    if typing.get_origin(hint) is typing.Literal:
        return {type(arg) for arg in args}
    return {leaf for arg in args for leaf in leaves(arg)} if args else {hint}


def descriptions(kind: type[BaseModel]) -> dict[str, str]:
    """Give what a class's docstring says of each setting; `a, b: text` says it of both."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        names: list[str] = []
        _, _, args = (inspect.cleandoc(base.__dict__.get("__doc__") or "")).partition("\nArgs:\n")
        for line in args.splitlines():
            entry = _ENTRY.match(line)
            if entry:
                names = entry[1].split(", ")
                found |= dict.fromkeys(names, entry[2])
            elif line.startswith("     "):
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
            else:
                break
    return found


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


PathText = Annotated[str, BeforeValidator(_as_text)]
"""A name as text; a path is taken as text."""


def as_list(value: Any) -> Any:
    """Give a list for one item, or for text with commas between the items."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if value is None or isinstance(value, Mapping | list | tuple):
        return value
    return (value,)


Listed = BeforeValidator(as_list)
"""For a list that one item, or text with commas between the items, may stand for."""

S = TypeVar("S", bound=Settings)


def parse_settings(kind: type[S], values: Mapping[str, Any], where: object) -> S:
    """Build settings from plain values.

    Args:
        kind: the settings class.
        values: keys and values as read from YAML or the command line.
        where: file or option that the values come from, for the message.

    Raises:
        SettingsError: lists every unknown key and every bad value at once.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = _problems(kind, error.errors(), values)
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        text = f"{count} wrong:\n" + "\n".join(f"    {problem}" for problem in problems)
        raise SettingsError(text, where=where) from None
    except SettingsError as error:
        raise error.at(where) from None


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply `key.sub=value` overrides; a value is read as YAML, so `3`, `true` and `[a, b]` work.

    A list's items are counted from 0: `finetune.1.steps=100`.

    Raises:
        SettingsError: an override has no `=`, or its path leads through something not a mapping.
    """
    result: dict[str, Any] = _copy(values)
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise SettingsError(
                f"cannot read the override {override!r}", where="--set", expected="key=value"
            )
        *parents, last = key.split(".")
        node: Any = result
        for parent in parents:
            node = _child(node, parent, override)
        place = _place(node, last, override)
        try:
            node[place] = load_yaml(text)
        except SettingsError as error:
            raise error.at(f"--set {override}") from None
    return result


def _copy(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _copy(value) for key, value in node.items()}
    return [_copy(item) for item in node] if isinstance(node, list) else node


def _child(node: Any, part: str, override: str) -> Any:
    """Step down to `part`; a mapping that is not there yet is made."""
    place = _place(node, part, override)
    if isinstance(node, dict) and node.get(part) is None:
        node[part] = {}
    child = node[place]
    if not isinstance(child, dict | list):
        raise SettingsError(
            f"{part!r} holds a value, not further keys", where=f"--set {override}", found=child
        )
    return child


def _place(node: Any, part: str, override: str) -> str | int:
    """Give the key in a mapping, or the index in a list."""
    if isinstance(node, dict):
        return part
    if part.isdigit() and int(part) < len(node):
        return int(part)
    raise SettingsError(
        f"{part!r} is no place in a list",
        where=f"--set {override}",
        expected=f"a number from 0 to {len(node) - 1}",
    )


def _problems(kind: type[BaseModel], items: Sequence[Any], values: Mapping[str, Any]) -> list[str]:
    """Give a line per setting; where several types would do, what each of them asks for."""
    heads: dict[str, dict[str, None]] = {}
    tails: dict[str, str] = {}
    paths = [_path([p for p in item["loc"] if not _is_type(p)], values) for item in items]
    for path, item in zip(paths, items, strict=True):
        if item["type"] == "too_short" and any(one.startswith(f"{path}.") for one in paths):
            continue  # its items are wrong, and pydantic counts those that are right
        message = _problem(kind, item)
        heads.setdefault(path, {})[message] = None
        known = item["type"] in ("extra_forbidden", "missing")
        # The reader knows a whole section, and a key that is missing holds nothing.
        tails[path] = "" if known or isinstance(item["input"], Mapping) else f"{item['input']!r}"
    return [
        (f"{path}: " if path else "")
        + ", or: ".join(messages)
        + (f" (found {tails[path]})" if tails[path] else "")
        for path, messages in heads.items()
    ]


def _path(parts: Sequence[Any], values: Any) -> str:
    """Give the path of a setting, with the names of items of lists: "finetune.0 (sid).steps"."""
    path = []
    for part in parts:
        if isinstance(part, int) and isinstance(values, Mapping) and part not in values:
            continue  # one alone, which may stand for a list
        try:
            values = values[part]
        except (LookupError, TypeError):
            values = None
        named = values if isinstance(part, int) and isinstance(values, Mapping) else {}
        name = next((named[key] for key in ("name", "task") if named.get(key)), "")
        path.append(f"{part} ({name})" if name else str(part))
    return ".".join(path)


def _problem(kind: type[BaseModel], item: Any) -> str:
    if item["type"] == "extra_forbidden":
        known = _keys_at(kind, item["loc"][:-1])
        return f"unknown key; {did_you_mean(str(item['loc'][-1]), known)}"
    if item["type"] == "missing":
        return "missing"
    return _in_yaml_words(item["msg"].removeprefix("Value error, "))


def _is_type(part: Any) -> bool:
    """Tell a type among several that a setting may have from a key."""
    return isinstance(part, str) and ("[" in part or part in ("int", "float", "str", "bool"))


def _in_yaml_words(message: str) -> str:
    """Call things what they are called in YAML, where nobody has heard of tuples."""
    message = re.sub(" after validation, not 0| or instance of \\w+", "", message)
    for python, yaml_word in (("tuple", "list"), ("dictionary", "mapping of keys to values")):
        message = message.replace(f"a valid {python}", f"a {yaml_word}")
        message = message.replace(python.capitalize(), yaml_word.capitalize())
    return message


def _keys_at(kind: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Find the valid keys at a place, walking through nested settings, unions and containers."""
    kinds: list[Any] = [kind]
    for part in path:
        fields = [one.model_fields[part] for one in kinds if part in one.model_fields]
        inside = [leaf for field in fields for leaf in leaves(field.annotation)]
        kinds = [leaf for leaf in inside if hasattr(leaf, "model_fields")] or kinds
    return sorted({key for one in kinds for key in one.model_fields})


_IN_BRACES = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def fill(value: Any, known: Mapping[str, Any], where: object) -> Any:
    """Put values in the place of `{name}`, in lists and mappings, too.

    A value keeps its type where the text is nothing else.

    Args:
        value: plain values.
        known: name → value; nothing is replaced where there is none.
        where: for messages.

    Raises:
        SettingsError: there is no such name.
    """
    if isinstance(value, Mapping):
        return {key: fill(item, known, where) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, known, where) for item in value]
    if not isinstance(value, str) or not known:
        return value
    missing = [name for name in _IN_BRACES.findall(value) if name not in known]
    if missing:
        raise SettingsError(
            f"nothing to put in the place of {{{missing[0]}}}",
            where=where,
            found=value,
            hint=did_you_mean(missing[0], known),
        )
    whole = _IN_BRACES.fullmatch(value)
    return known[whole[1]] if whole else _IN_BRACES.sub(lambda m: _text_of(known[m[1]]), value)


def _text_of(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
