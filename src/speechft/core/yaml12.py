"""YAML by version 1.2's core schema, read and written in this one place.

`no`, `on`, `0:1:0.05` and dates are text, and so is a number with leading zeros, which is a name.
Source: YAML 1.2.2, section 10.3 (PyYAML follows 1.1, where `0:1:0.05` is 60.05).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from speechft.core.errors import SettingsError
from speechft.core.limits import NESTED, YAML_VALUES, regular_file

_TAG: Final = "tag:yaml.org,2002:"
_DIGITS: Final = "(0|[1-9][0-9]*)"
# What a plain scalar is, in the order in which they are tried; `<<` is YAML 1.1's merge key.
_SCHEMA: Final = {
    "null": "~|null|Null|NULL|",
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": rf"[-+]?{_DIGITS}|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": rf"[-+]?(\.[0-9]+|{_DIGITS}(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": "<<",
}
_RESOLVERS: Final = {
    None: [(_TAG + name, re.compile(f"(?:{pattern})$")) for name, pattern in _SCHEMA.items()]
}


class _Written:
    """A number that knows how it was written, for the fields that take it as text."""

    text: str


class WrittenInt(int, _Written):
    """An integer as YAML has it."""


class WrittenFloat(float, _Written):
    """A floating-point number as YAML has it."""


def as_text(value: Any) -> Any:
    """Give scalars as the text that was written, in lists and mappings, too."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, _Written):
        return value.text
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    return [as_text(item) for item in value] if isinstance(value, list) else value


N = TypeVar("N", WrittenInt, WrittenFloat)


class _Loader(yaml.SafeLoader):
    """Keys are text, each once; what is too large or too deep with its aliases is refused."""

    yaml_implicit_resolvers = _RESOLVERS

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """Count nodes, those behind an alias once more."""
        alias = self.check_event(yaml.AliasEvent)
        before, self._depth = self._count, self._depth + 1
        if self._depth > NESTED:
            raise SettingsError("the YAML is nested too deep", expected=f"at most {NESTED} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias and id(node) not in self._sizes:
            raise SettingsError("an alias (*) stands inside of what it stands for")
        self._count += self._sizes[id(node)] if alias else 1
        self._sizes.setdefault(id(node), self._count - before)
        if self._count > YAML_VALUES:
            raise SettingsError("the YAML is too large", expected=f"at most {YAML_VALUES} values")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Look at the keys as they are written, before merge keys (`<<`) are filled in."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for place, (key, value) in enumerate(node.value):
            if not isinstance(key, yaml.ScalarNode) or key.tag == _TAG + "merge":
                continue
            name, line = key.value, key.start_mark.line + 1
            if name in lines:
                raise SettingsError(
                    f"the key {name!r} is given twice",
                    expected="every key once",
                    found=f"in line {lines[name]}, and again in line {line}",
                    hint="take one of them out, or put both into one",
                )
            lines[name] = line
            text = yaml.ScalarNode(_TAG + "str", name, key.start_mark, key.end_mark, key.style)
            node.value[place] = (text, value)
        return node


def _int_of(_loader: _Loader, node: yaml.ScalarNode) -> WrittenInt:
    return _written(WrittenInt(int(node.value, 0)), node.value)


def _float_of(_loader: _Loader, node: yaml.ScalarNode) -> WrittenFloat:
    text = node.value.lower()
    named = text.endswith(("inf", "nan"))
    return _written(WrittenFloat(text.replace(".", "") if named else text), node.value)


def _written(number: N, text: str) -> N:
    number.text = text
    return number


_Loader.add_constructor(_TAG + "int", _int_of)
_Loader.add_constructor(_TAG + "float", _float_of)
_QUOTED: Final = {**yaml.SafeDumper.yaml_implicit_resolvers, **_RESOLVERS}


class _Dumper(yaml.SafeDumper):
    """Quotes what version 1.1 or 1.2 would not read as text."""

    yaml_implicit_resolvers = _QUOTED


_Dumper.add_representer(WrittenInt, lambda dumper, value: dumper.represent_int(int(value)))
_Dumper.add_representer(WrittenFloat, lambda dumper, value: dumper.represent_float(float(value)))


def load_yaml(text: str) -> Any:
    """Read YAML; numbers are `WrittenInt` and `WrittenFloat`, keys are text.

    Raises:
        SettingsError: it is not YAML, holds a key twice, or is too large or too deep.
    """
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError("this is not YAML", found=error) from None


def dump_yaml(values: Any) -> str:
    """Write YAML that `load_yaml` reads as it was, keys in their order."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        SettingsError: the file is missing, is not YAML, holds no mapping, or holds a key twice.
    """
    try:
        values = load_yaml(regular_file(path).read_text(encoding="utf-8"))
    except SettingsError as error:
        raise error.at(path) from None
    except FileNotFoundError:
        raise SettingsError("no such file", where=path, hint="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("cannot read the file", where=path, found=error) from None
    if not isinstance(values, dict):
        found = "an empty file" if values is None else type(values).__name__
        raise SettingsError("no settings in the file", where=path, expected="keys", found=found)
    return values
