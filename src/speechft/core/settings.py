"""Strict settings: unknown keys are errors, all found at once, each with the nearest valid key."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean


class Settings(BaseModel):
    """Base of all settings: frozen, strict about keys, defaults checked too, numbers finite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


PathText = Annotated[str, BeforeValidator(_as_text)]
"""A name as text; a path is taken as text."""


def _as_list(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if value is None or isinstance(value, Mapping | list | tuple):
        return value
    return (value,)


Listed = BeforeValidator(_as_list)
"""For a list that one item, or text with commas between the items, may stand for."""

S = TypeVar("S", bound=Settings)
_MERGE = "tag:yaml.org,2002:merge"


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
        problems = _problems(kind, error.errors())
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        text = f"{count} wrong:\n" + "\n".join(f"    {problem}" for problem in problems)
        raise SettingsError(text, where=where) from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping holds twice, of which YAML would keep the last silently."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Look at the keys as they are written, before merge keys (`<<`) are filled in."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise SettingsError(
                    f"the key {key.value!r} is given twice",
                    expected="every key once",
                    found=f"in line {lines[name]}, and again in line {line}",
                    hint="take one of them out, or put both into one",
                )
            lines[name] = line
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        SettingsError: the file is missing, is not YAML, holds no mapping, or holds a key twice.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except SettingsError as error:
        raise error.at(path) from None
    except FileNotFoundError:
        raise SettingsError("no such file", where=path, hint="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("cannot read the file", where=path, found=error) from None
    except yaml.YAMLError as error:
        raise SettingsError("this is not YAML", where=path, found=error) from None
    if not isinstance(values, dict):
        found = "an empty file" if values is None else type(values).__name__
        raise SettingsError("no settings in the file", where=path, expected="keys", found=found)
    return values


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
            node[place] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingsError(
                "cannot read the override's value as YAML", where=f"--set {override}", found=text
            ) from None
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


def _problems(kind: type[BaseModel], items: Sequence[Any]) -> list[str]:
    """Give a line per setting; where several types would do, what each of them asks for."""
    heads: dict[str, dict[str, None]] = {}
    tails: dict[str, str] = {}
    for item in items:
        path = ".".join(str(part) for part in item["loc"] if not _is_type(part))
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
        following: list[Any] = []
        for candidate in kinds:
            fields = getattr(candidate, "model_fields", {})
            if part in fields:
                following += _models_in(fields[part].annotation)
            elif candidate in kinds and not fields:
                following += _models_in(candidate)
        kinds = following or kinds
    return sorted({key for candidate in kinds for key in getattr(candidate, "model_fields", {})})


def _models_in(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is None:
        return [annotation] if hasattr(annotation, "model_fields") else []
    if origin in (typing.Union, types.UnionType) or origin is not None:
        return [m for arg in typing.get_args(annotation) for m in _models_in(arg)]
    return []
