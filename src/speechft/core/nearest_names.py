"""Names that look most like a wrong one: "did you mean 'linear'?"."""

from __future__ import annotations

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], count: int = 3, alike: float = 0.5) -> list[str]:
    """Give up to `count` other names that are `alike` (0 to 1) to `name`, best first."""
    names = [one for one in known if one != name]
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], count, cutoff=alike)
    by_lower = {n.lower(): n for n in names}
    return [by_lower[c] for c in close]


def look_alike(names: Iterable[str]) -> list[str]:
    """Give names that differ in capitals, spaces, composition or invisible characters alone.

    Returns:
        A text per group, with escapes for what one cannot see.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        plain = unicodedata.normalize("NFKC", name).casefold()
        seen = "".join(c for c in plain if unicodedata.category(c) != "Cf")
        groups[" ".join(seen.split())].append(ascii(name))
    return [", ".join(own) for own in groups.values() if len(own) > 1]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give a hint that names the nearest known names, or all of them when none is near."""
    names = sorted({*known} - {name})
    close = nearest(name, names)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    return f"known: {', '.join(names)}" if names else "nothing is known here"
