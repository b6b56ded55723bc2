"""English sentences: commands with an intent and slots, and open sentences without.

A template is a string of words and `{slot}` fields; every field has a list of values. A sentence
belongs to one part of the data only, by a hash of its text (`bucket`), so that parts made at
different times, with different sizes or seeds never share a sentence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speechft.data.synthetic import words as w

OUTSIDE = "O"

VALUES: dict[str, tuple[str, ...]] = {
    "device": w.DEVICES,
    "room": w.ROOMS,
    "time": w.TIMES,
    "day": w.DAYS,
    "city": w.CITIES,
    "person": w.PEOPLE,
    "food": w.FOODS,
    "item": w.ITEMS,
    "genre": w.GENRES,
    "number": w.NUMBERS,
    "colour": w.COLOURS,
}

COMMANDS: dict[str, tuple[str, ...]] = {
    "switch_on": (
        "please turn on the {device} in the {room} at {time}",
        "switch the {room} {device} on before {time}",
        "could you start the {device} in the {room} on {day}",
    ),
    "switch_off": (
        "please turn off the {device} in the {room} at {time}",
        "switch the {room} {device} off before {time}",
        "could you stop the {device} in the {room} on {day}",
    ),
    "set_level": (
        "set the {room} {device} to {number} percent at {time}",
        "make the {device} in the {room} {colour} and {number} percent bright",
        "change the {room} {device} to {colour} on {day}",
    ),
    "set_alarm": (
        "wake me at {time} on {day}",
        "please set an alarm for {day} at {time} in the {room}",
        "wake {person} in {number} minutes",
    ),
    "play_music": (
        "play some {genre} in the {room} at {time}",
        "i want to hear {genre} by {person} in the {room}",
        "put on the {genre} that {person} likes",
    ),
    "get_weather": (
        "will it rain in {city} on {day}",
        "what is the weather in {city} {day} at {time}",
        "tell me how warm {city} will be on {day}",
    ),
    "call_person": (
        "call {person} in {city} on {day}",
        "please ring {person} at {time} {day}",
        "could you call {person} from the {room}",
    ),
    "send_message": (
        "tell {person} that i will be in {city} on {day}",
        "send {person} a message that the {food} is ready at {time}",
        "write to {person} that we need {item}",
    ),
    "order_food": (
        "order {food} for {number} people at {time}",
        "i want to eat {food} with {person} on {day}",
        "get {food} and {item} for {person}",
    ),
    "shopping_list": (
        "put {item} on the list for {day}",
        "add {number} {item} to the shopping list",
        "we need {item} for the {food} on {day}",
    ),
    "book_trip": (
        "book a train to {city} on {day} at {time}",
        "find a flight to {city} for {person} and me",
        "i want to travel to {city} with {person} on {day}",
    ),
    "add_meeting": (
        "meet {person} in the {room} on {day} at {time}",
        "add a meeting with {person} in {city} at {time}",
        "remind me to see {person} in {number} minutes",
    ),
}

_OPEN_VALUES: dict[str, tuple[str, ...]] = {
    **VALUES,
    "adj": w.ADJECTIVES,
    "noun": w.NOUNS,
    "plural": w.PLURALS,
    "did": w.TRANSITIVE,
    "acted": w.INTRANSITIVE,
    "how": w.ADVERBS,
    "by": w.PREPOSITIONS,
}

OPEN: tuple[str, ...] = (
    "the {adj} {noun} {did} the {noun} {by} the {noun}",
    "{person} {did} {number} {adj} {plural} {how}",
    "a {noun} {acted} {by} the {adj} {noun} and {did} a {noun}",
    "{how} the {plural} {acted} {by} the {noun}",
    "when {person} {acted} the {adj} {noun} {did} {person}",
    "my {noun} and your {noun} {acted} {how} in {city}",
    "nobody {did} the {noun} that {person} {did} on {day}",
    "there were {number} {plural} {by} the {adj} {noun}",
    "why has the {noun} {did} so many {adj} {plural}",
    "his {adj} {noun} {acted} because her {noun} {did} us",
    "{person} asked the {noun} for {item} and a {adj} {noun}",
    "the {plural} of {city} {did} a {colour} {noun}",
    "if the {noun} is {adj} then the {noun} is {adj} too",
    "{person} and {person} {did} each {noun} {by} the {noun}",
    "they {did} the {plural} {how} but the {noun} {acted}",
    "we have {how} seen such {adj} {plural} {by} a {noun}",
)


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


def fill(
    template: str,
    values: Mapping[str, Sequence[str]],
    random: np.random.Generator,
    intent: str = "",
) -> Sentence:
    """Fill a template's fields with values drawn at random."""
    slots: list[tuple[str, str]] = []
    tags: list[tuple[str, str]] = []
    for part in re.findall(r"\{\w+\}|[^\s{}]+", template):
        if part.startswith("{"):
            name = part[1:-1]
            value = values[name][int(random.integers(len(values[name])))]
            slots.append((name, value))
            tags += [(word, name) for word in value.split()]
        else:
            tags.append((part, OUTSIDE))
    text = " ".join(word for word, _ in tags)
    return Sentence(text, intent, tuple(slots), tuple(tags))


def draw_command(random: np.random.Generator) -> Sentence:
    """Draw a command, all intents alike."""
    intents = list(COMMANDS)
    intent = intents[int(random.integers(len(intents)))]
    templates = COMMANDS[intent]
    return fill(templates[int(random.integers(len(templates)))], VALUES, random, intent)


def draw_open(random: np.random.Generator) -> Sentence:
    """Draw an open sentence; it carries no intent and no slots."""
    sentence = fill(OPEN[int(random.integers(len(OPEN)))], _OPEN_VALUES, random)
    return Sentence(sentence.text)


def bucket(text: str) -> int:
    """Give the part of the data that a text belongs to, in [0, 100)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") % 100
