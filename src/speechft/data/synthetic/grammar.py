"""Sentences: English commands with an intent and slots, and open sentences without, also in others.

A template is a string of words and `{slot}` fields; every field has a list of values; all of them
stand in `sentences.toml`. A sentence belongs to one part of the data only, by a hash of its text
(`bucket`), so that parts made at different times, with different sizes or seeds never share one.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

OUTSIDE: Final = "O"
OTHER_LANGUAGES: Final = ("es", "de")  # than English


@dataclass(frozen=True)
class Sentence:
    """A sentence with its labels.

    Attributes:
        text: lower-case words.
        intent: what a command asks for; empty for other sentences.
        slots: (name, value) in the order of the sentence.
        tags: (word, slot name or "O") for every word.
    """

    text: str
    intent: str = ""
    slots: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


def draw_command(random: np.random.Generator) -> Sentence:
    """Draw an English command, all intents alike."""
    commands = tables()["commands"]
    intents = list(commands)
    intent = intents[int(random.integers(len(intents)))]
    return _fill(commands[intent].strip().split("\n"), "en", random, intent)


def draw_open(random: np.random.Generator, language: str = "en") -> Sentence:
    """Draw an open sentence of a language; it carries no intent and no slots."""
    templates = tables()["open"][language].strip().split("\n")
    return Sentence(_fill(templates, language, random).text)


def bucket(text: str) -> int:
    """Give the part of the data that a text belongs to, in [0, 100)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") % 100


@cache
def tables() -> dict[str, Any]:
    """Give `sentences.toml`."""
    return tomllib.loads(Path(__file__).with_name("sentences.toml").read_text(encoding="utf-8"))


@cache
def values_of(language: str) -> Mapping[str, Sequence[str]]:
    """Give field → its values; in the file they are a list, or words with spaces between."""
    fields = tables()["values"][language]
    return {name: v.split() if isinstance(v, str) else v for name, v in fields.items()}


def _fill(
    templates: Sequence[str], language: str, random: np.random.Generator, intent: str = ""
) -> Sentence:
    """Fill the fields of a template drawn at random with values drawn at random."""
    template = templates[int(random.integers(len(templates)))]
    slots: list[tuple[str, str]] = []
    tags: list[tuple[str, str]] = []
    for part in re.findall(r"\{\w+\}|[^\s{}]+", template):
        if part.startswith("{"):
            name = part[1:-1]
            values = values_of(language)[name]
            value = values[int(random.integers(len(values)))]
            slots.append((name, value))
            tags += [(word, name) for word in value.split()]
        else:
            tags.append((part, OUTSIDE))
    text = " ".join(word for word, _ in tags)
    return Sentence(text, intent, tuple(slots), tuple(tags))
