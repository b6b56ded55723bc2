"""The files of studies: where they lie, and short ones written out.

Entries with `for` are written once and stand for many.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean
from speechft.core.paths import home_expanded
from speechft.core.settings import apply_overrides, fill, parse_settings
from speechft.core.yaml12 import read_yaml

if TYPE_CHECKING:
    from speechft.reporting.study.settings import StudySettings

FOLDER = "studies"
_MOST_MEMBERS = 1000


def load_study(study: Path | str, overrides: Sequence[str] = ()) -> StudySettings:
    """Read a study.

    Args:
        study: a YAML file, or the name of one in the folder `studies`.
        overrides: `key.sub=value` changes of the file's own keys.

    Raises:
        SettingsError: no such study, or it is wrong; all mistakes are listed at once.
    """
    path = find_study(study)
    values = expand(apply_overrides(read_yaml(path), overrides), path)
    from speechft.reporting.study.settings import StudySettings  # imports all that a study does

    return parse_settings(StudySettings, values, where=path)


def find_study(study: Path | str) -> Path:
    """Give the file of a study: a path, or a name in the folder `studies`.

    Raises:
        SettingsError: there is none.
    """
    path = home_expanded(study)
    named = Path(FOLDER) / f"{study}.yaml"
    if path.is_file() or (not named.is_file() and path.suffix):
        return path
    if named.is_file():
        return named
    known = sorted(p.stem for p in Path(FOLDER).glob("*.yaml"))
    raise SettingsError(
        "no such study",
        where=study,
        expected=f"a YAML file, or one of {', '.join(known)}" if known else "a YAML file",
        hint=did_you_mean(str(study), known) if known else "there is no folder studies/ here",
    )


LISTS = ("stages", "rows", "findings")


def expand(values: Mapping[str, Any], where: object) -> dict[str, Any]:
    """Write out the entries of `stages`, `rows` and `findings`.

    An entry with `for: NAME` is repeated for every member of the set of that name (`sets`), with
    `for: [NAME, OTHER]` for every combination; `{key}` in its texts is replaced by the member's
    value, which keeps its type where the text is nothing else. A finding's entry of `over` is
    expanded inside the finding: its `pairs` become one pair per member.

    Args:
        values: a study as its YAML file says it.
        where: the file, for messages.

    Raises:
        SettingsError: a set or a key is not there.
    """
    sets = _sets(values.get("sets"), where)
    result = {key: value for key, value in values.items() if key not in ("sets", *LISTS)}
    for name in LISTS:
        entries = values.get(name) or []
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise SettingsError(f"{name} is no list", where=where, found=type(entries).__name__)
        result[name] = [one for entry in entries for one in _entry(entry, sets, where)]
    return result


def _sets(given: Any, where: object) -> Mapping[str, Any]:
    """Check the sets: each a list of members with named values."""
    sets = given or {}
    if not isinstance(sets, Mapping):
        raise SettingsError("sets is no mapping of names to lists", where=where, found=given)
    for name, members in sets.items():
        for member in members if isinstance(members, list) else [members]:
            if not isinstance(members, list) or not isinstance(member, Mapping):
                raise SettingsError(
                    f"the set {name!r} is no list of members with named values",
                    where=where,
                    expected="- {task: pr, steps: 500}",
                    found=member,
                )
            strange = [key for key in member if not isinstance(key, str)]
            if strange:
                raise SettingsError(
                    f"a member of the set {name!r} has a value whose name is no text",
                    where=where,
                    found=strange[0],
                    hint="YAML reads on, off, yes and no as true and false: take another name",
                )
    return sets


def _entry(entry: Any, sets: Mapping[str, Any], where: object) -> list[Any]:
    if not isinstance(entry, Mapping):
        return [entry]  # the settings' own check says what is wrong
    plain = {key: value for key, value in entry.items() if key != "for"}
    written = []
    for member in _members(entry.get("for"), sets, where):
        one = dict(plain)
        if "over" in one:
            inner = _members(one.pop("over"), sets, where)
            pairs = one.get("pairs")
            if not isinstance(pairs, list):
                raise SettingsError(
                    "`over` repeats the pairs of a finding, and there is no list of them",
                    where=where,
                    found=one,
                )
            one["pairs"] = [fill(p, {**member, **m}, where) for m in inner for p in pairs]
        written.append({key: fill(value, member, where) for key, value in one.items()})
    return written


def _members(names: Any, sets: Mapping[str, Any], where: object) -> list[dict[str, Any]]:
    """Give the combinations of the named sets' members; one empty member without any name."""
    chosen = [] if names is None else names if isinstance(names, list) else [names]
    for name in chosen:
        if not isinstance(name, str) or name not in sets:
            raise SettingsError(
                f"there is no set {name!r}", where=where, hint=did_you_mean(str(name), sets)
            )
    if math.prod(len(sets[name]) for name in chosen) > _MOST_MEMBERS:
        raise SettingsError(
            "an entry would be written out too many times",
            where=where,
            expected=f"at most {_MOST_MEMBERS}",
            found=" times ".join(f"{len(sets[name])} of {name}" for name in chosen),
        )
    product = itertools.product(*(sets[name] for name in chosen))
    return [{k: v for part in parts for k, v in part.items()} for parts in product]
