"""Texts with names in braces, and what to put in their places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from speechft.core.errors import SettingsError, did_you_mean

_NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")


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
    missing = [name for name in _NAME.findall(value) if name not in known]
    if missing:
        raise SettingsError(
            f"nothing to put in the place of {{{missing[0]}}}",
            where=where,
            found=value,
            hint=did_you_mean(missing[0], known),
        )
    whole = _NAME.fullmatch(value)
    return known[whole[1]] if whole else _NAME.sub(lambda m: _text(known[m[1]]), value)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
