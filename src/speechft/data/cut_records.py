"""What a line of a manifest may hold: lhotse takes any value, and fails where it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

_TEXT: Final = (str,)
_NUMBER: Final = (int, float)
_MAYBE: Final = (str, type(None))
_CHANNELS: Final = (int, list)
_OBJECT: Final = (dict, type(None))
_LIST: Final = (list, type(None))
#: Kind of object → its keys, where they are there, and the types of their values.
_FIELDS: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    "cut": {
        **{"id": _TEXT, "start": _NUMBER, "duration": _NUMBER, "channel": _CHANNELS},
        **{"supervisions": (list,), "recording": _OBJECT, "custom": _OBJECT},
    },
    "recording": {
        **{"id": _TEXT, "sources": (list,), "sampling_rate": (int,), "num_samples": (int,)},
        **{"duration": _NUMBER, "channel_ids": (list, type(None)), "custom": _OBJECT},
        **{"transforms": (list, type(None))},
    },
    "source": {"type": _TEXT, "channels": (list,)},
    "supervision": {
        **{"id": _TEXT, "recording_id": _TEXT, "start": _NUMBER, "duration": _NUMBER},
        **{"channel": _CHANNELS, "text": _MAYBE, "language": _MAYBE, "speaker": _MAYBE},
        **{"gender": _MAYBE, "custom": _OBJECT, "alignment": _OBJECT},
    },
    # What this package reads there; whoever calls something of their own so is told.
    "custom object": {
        **{"columns": (dict,), "effects": (list,), "samples": (int, type(None)), "trials": _LIST},
        **{"matches": _LIST, "listed": _LIST, "phonemes": (str, *_LIST)},
    },
}
_INSIDE: Final = {
    **{("cut", "recording"): "recording", ("recording", "sources"): "source"},
    **{("cut", "supervisions"): "supervision", ("cut", "custom"): "custom object"},
    ("supervision", "custom"): "custom object",
}
#: Key of a list → whether one of its items is as it must be.
_ITEMS: Final[dict[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("channel", "channels", "channel_ids", "listed"), lambda one: type(one) is int),
    "effects": lambda one: isinstance(one, str),
    "trials": lambda one: isinstance(one, list) and len(one) == 2 and one[1] in (0, 1),
    "phonemes": lambda one: isinstance(one, str | int),
}


def check_record(record: Mapping[str, Any], kind: str = "cut") -> None:
    """Refuse a record of a cut whose values are of other types than lhotse writes.

    Raises:
        TypeError: names the first.
    """
    for key, types in _FIELDS[kind].items():
        value = record.get(key, ...)
        if value is not ... and (not isinstance(value, types) or isinstance(value, bool)):
            raise TypeError(f"{key!r} of a {kind} is {_shown(value)}")
        if key in _ITEMS and isinstance(value, list) and not all(map(_ITEMS[key], value)):
            raise TypeError(f"{key!r} of a {kind} is {_shown(value)}")
        if key == "alignment" and isinstance(value, dict):
            _check_alignment(value)
        if (kind, key) in _INSIDE and value not in (..., None):
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, dict):
                    raise TypeError(f"{key!r} of a {kind} holds {_shown(one)}")
                check_record(one, _INSIDE[kind, key])


def _check_alignment(tiers: Mapping[str, Any]) -> None:
    """Refuse an alignment whose items are not [symbol, start, duration, …]."""
    for name, items in tiers.items():
        for one in items if isinstance(items, list) else [items]:
            symbol, *numbers = one[:3] if isinstance(one, list) and len(one) > 2 else [None]
            if not isinstance(symbol, str) or not all(type(n) in _NUMBER for n in numbers):
                raise TypeError(f"{name!r} of an alignment holds {_shown(one)}")


def _shown(value: object) -> str:
    return repr(value)[:60]
