"""What a thing is, what a result depends on, and whether it is done: known here and nowhere else.

- `content_id` tells one thing from another by what is in it: a file, the files of a folder, or
  parts that an encoder or data name.
- A settings field says by its type what it is to a result: `Neutral` fields change none (workers,
  device); the value of an `Input` field (an encoder, data, a file) counts by its content.
- `Artifact` is a folder that a stage makes. Its record (`speechft.json`) is removed before work
  begins and written last, with the size and hash of every product, and with which versions, and on
  which processor, it was made. It is done where the record says the same as the stage would, and
  the products are there as they were written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import platform
import re
import shutil
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel

from speechft._version import __version__
from speechft.core import files
from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.files import products_of, read_json, write_json
from speechft.core.known_hashes import known_hash, known_hashes
from speechft.core.logging import get_logger
from speechft.core.paths import first_of, said_place

RECORD: Final = files.RECORD
BEGUN: Final = "begun.json"
_SHOWN: Final = 4
log = get_logger(__name__)


class _Neutral:
    """Marks a field that changes no result."""


class Input(NamedTuple):
    """Marks a field that names an input.

    Attributes:
        identify: gives the content id of what the field's text names.
        look: raises an error where nothing of that name is there, as far as that is told at once.
    """

    identify: Callable[[str], str]
    look: Callable[[str], object] = str


Neutral: Final = _Neutral()
"""For fields that change no result: `workers: Annotated[int, Neutral] = 0`."""


def content_id(what: Path | Mapping[str, Any]) -> str:
    """Give the identity of a thing: a SHA-256 over all that is in it, as hex.

    Args:
        what: a file; a folder, whose files count with their names; or named parts, each a plain
            value, a path (which counts by its content) or a mapping or list of these.

    Raises:
        OSError: a file cannot be read.
    """
    if isinstance(what, Path):
        return _path_id(what)
    return hash_values(_with_content(what))


def hash_values(value: Any) -> str:
    """Give the SHA-256 of plain values as hex; the order of keys does not matter.

    Numbers count with all their digits; what JSON does not know counts by its type and text.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_as_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_id(name: str) -> str:
    """Give the identity of a file or folder by its name; a missing one counts by its name alone."""
    path = Path(name).expanduser()
    return content_id(path) if path.exists() else f"missing {name}"


file_hashes: Final = known_hashes
"""Gives the identities of many files, such as a corpus' audio; only unknown ones are read."""

FileInput = Annotated[Path, Input(file_id)]
"""A file that a result depends on, by its content."""


@dataclass
class Seen:
    """Inputs that were looked at, by what identifies them and their names.

    Attributes:
        ids: their identities.
        errors: why some could not be identified.
    """

    ids: dict[tuple[Callable[[str], str], str], str] = field(default_factory=dict)
    errors: dict[tuple[Callable[[str], str], str], SpeechFTError] = field(default_factory=dict)


@contextmanager
def looking_once(seen: Seen) -> Iterator[None]:
    """Look at every input once while the block runs, to plan work on what may not be there yet.

    An input that cannot be identified counts by its name alone; whoever needs it says why.

    Args:
        seen: what was looked at before; what is looked at now is added.
    """
    token = _looked_at.set(seen)
    try:
        yield
    finally:
        _looked_at.reset(token)


_looked_at: ContextVar[Seen | None] = ContextVar("looked_at", default=None)


def _identify(mark: Input, name: str) -> str:
    seen, key = _looked_at.get(), (mark.identify, name)
    if seen is None:
        return mark.identify(name)
    if key not in seen.ids:
        try:
            seen.ids[key] = mark.identify(name)
        except (SpeechFTError, OSError) as error:
            if not isinstance(error, SpeechFTError):
                error = SpeechFTError("it cannot be read", found=error)
            seen.ids[key], seen.errors[key] = f"not known: {name}", error
    return seen.ids[key]


def dependencies(settings: BaseModel, known: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Give what a result depends on, of all that settings say.

    Fields at their default are left out: a setting that is added later changes no result that is
    there, and a stage whose defaults change raises its version.

    Args:
        settings: of a stage; nested settings count, too.
        known: name of an input → identity, where the input is still to be made, or is known.

    Returns:
        Plain values; inputs by their content.
    """
    found: dict[str, Any] = _of_model(settings, known or {})
    return found


def refuse_absent(settings: BaseModel) -> None:
    """Look whether the inputs that settings name are there, as far as that is told at once.

    Raises:
        SpeechFTError: one is not.
    """
    for error in absent(settings):
        raise error


def absent(settings: BaseModel) -> Iterator[SpeechFTError]:
    """Give an error for each input of settings that is not there, as `refuse_absent` looks."""
    for mark, name in inputs_of(settings):
        try:
            mark.look(name)
        except SpeechFTError as error:
            yield error


def inputs_of(settings: BaseModel) -> Iterator[tuple[Input, str]]:
    """Give the inputs that settings name, each with the mark of its field."""
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for name in type(settings).model_fields:
        yield from _inputs(hints[name], getattr(settings, name))


def _inputs(hint: Any, value: Any) -> Iterator[tuple[Input, str]]:
    if isinstance(value, BaseModel):
        yield from inputs_of(value)
    elif isinstance(value, str | Path):
        yield from ((mark, str(value)) for mark in _marks(hint) if isinstance(mark, Input))
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            for inner in _inner(hint) or [None]:
                yield from _inputs(inner, item)


@dataclass
class Artifact:
    """A folder that a stage makes.

    Args:
        folder: the stage's output.
        stage: the verb ("finetune").
        depends: all that the result depends on, as plain values (see `dependencies`).
        version: of what makes it; raised when the same settings give another result.
        settings: of the stage, which give inputs and defaults their names in messages.
    """

    folder: Path
    stage: str
    depends: Mapping[str, Any]
    version: int = 1
    settings: BaseModel | None = field(default=None, repr=False)
    _wanted: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = {"stage": self.stage, "version": self.version, "depends": dict(self.depends)}
        self._wanted = json.loads(json.dumps(values, default=_as_plain))

    @property
    def id(self) -> str:
        """The identity of the result by what it is made from, whether it is there or not."""
        return hash_values(self._wanted)

    @property
    def done(self) -> bool:
        """Whether the result is there: the same record, and every product as it was written."""
        record = read_record(self.folder)
        return record is not None and self._is_of(record) and not damaged(self.folder, record)

    @property
    def begun(self) -> bool:
        """Whether work on this very result was begun and not ended."""
        note = read_object(self.folder / BEGUN)
        return note is not None and self._is_of(note)

    def _is_of(self, record: Mapping[str, Any]) -> bool:
        return all(record.get(key) == self._wanted[key] for key in self._wanted)

    def begin(self, *, replace: bool = False) -> bool:
        """Note that work begins: the record goes, so that nothing counts as done meanwhile.

        Args:
            replace: take the place of what other settings began or made.

        Returns:
            Whether this very result was begun before, so that its states may be gone on with.

        Raises:
            SettingsError: the folder cannot be written to, or holds what another stage, or other
                settings, have made or begun.
        """
        self.refuse_other_stage()
        if not replace:
            self.refuse_other()
        same = self.begun
        say_damage(self.folder)
        with said_place(self.folder, "choose another --out", (errno.EEXIST,)):
            (self.folder / RECORD).unlink(missing_ok=True)
            if not same:
                said = self.settings and self.settings.model_dump(mode="json", exclude={"out"})
                write_json(self.folder / BEGUN, {**self._wanted, "settings": said or {}})
        return same

    def end(
        self, products: Iterable[str], hashes: Mapping[str, str] | None = None, **about: Any
    ) -> None:
        """Write the record, last of all.

        Args:
            products: files and folders of the result, relative to the artefact's folder.
            hashes: of products whose `content_id` is known already.
            about: further plain values (alpha, method, scores).
        """
        record = {
            **self._wanted,
            "products": _stamps(self.folder, _files(self.folder, products), hashes),
            "versions": versions(),
            "processor": processor(),
            **about,
        }
        write_json(self.folder / RECORD, record)
        (self.folder / BEGUN).unlink(missing_ok=True)

    def clear(self, *working: str) -> None:
        """Remove what the stage has made here, and nothing else.

        Args:
            working: files and folders of unfinished work, relative to the artefact's folder.
        """
        named = {*products_of(self.folder), BEGUN, *working}
        for name in [*sorted(named - {RECORD}), RECORD]:
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for folder in sorted({(self.folder / name).parent for name in named}, reverse=True):
            if folder != self.folder and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def refuse_other(self) -> None:
        """Refuse a folder that holds what other settings have made or begun; nothing is changed.

        Raises:
            SettingsError: says in what they differ.
        """
        before = self.before
        if before is None or self.begun or self.empty:
            return
        differing = self._differences(before)
        if not differing:
            return
        few = differing[:_SHOWN]
        raise SettingsError(
            f"the folder holds a {before.get('stage') or self.stage} with other settings",
            where=self.folder,
            expected="; ".join(f"{name} {old}" for name, old, _ in few),
            found="; ".join(f"{name} {new}" for name, _, new in few),
            hint="choose another --out, or remove the folder to start anew",
        )

    def refuse_other_stage(self) -> None:
        """Refuse a place that holds a file, or what another stage has made.

        Raises:
            SettingsError: says which.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise SettingsError("the output is a file", where=self.folder, expected="a folder")
        found = stage_of(self.folder)
        if found not in (None, self.stage):
            raise SettingsError(
                f"the folder holds what {found!r} has made",
                where=self.folder,
                expected=f"a folder for {self.stage!r}",
                hint="choose another --out",
            )

    @property
    def empty(self) -> bool:
        """Whether nothing lies here but the note that work was begun."""
        try:
            return all(path.name == BEGUN or _hidden(path) for path in self.folder.iterdir())
        except OSError:
            return True

    @property
    def before(self) -> dict[str, Any] | None:
        """What was begun here last, or was made; None where nothing that can be read says it."""
        return read_object(self.folder / BEGUN) or read_record(self.folder)

    def changes(self) -> list[str]:
        """Say in what the record that is there differs, as "name: before → now"."""
        before = self.before
        return [f"{n}: {a} → {b}" for n, a, b in self._differences(before)] if before else []

    def _differences(self, before: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Give name, old and new of what differs, inputs and defaults by their names."""
        old, new = _flat(before.get("depends", {})), _flat(self._wanted["depends"])
        old["version"], new["version"] = before.get("version"), self.version
        then, now = _flat(before.get("settings") or {}), {}
        if self.settings is not None:
            now = _flat(self.settings.model_dump(mode="json"))
        default = {} if self.settings is None else _flat(_defaults(type(self.settings)))
        found = []
        for name in [n for n in {**old, **new} if old.get(n) != new.get(n)]:
            was, is_ = old.get(name), new.get(name)
            if _is_id(was) and _is_id(is_) and then.get(name, "") == now.get(name):
                found.append((name, f"{now[name]} as it was", f"{now[name]} with other content"))
            else:
                usual = default.get(name)
                found.append(
                    (name, _shown(was, then.get(name), usual), _shown(is_, now.get(name), usual))
                )
        return found


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read an artefact's record; None where there is none, or nothing that can be read."""
    return read_object(folder / RECORD)


def stage_of(folder: Path) -> str | None:
    """Name the stage that made what lies in `folder`, if it says so."""
    found = (read_record(folder) or {}).get("stage")
    return None if found is None else str(found)


def say_damage(folder: Path) -> None:
    """Tell which products in a folder are not what was written, before they are made again."""
    record = read_record(folder)
    names = damaged(folder, record) if record else []
    if names:
        said = "%s: missing, or changed since they were written, and made again: %s in %s"
        log.warning(said, record and record.get("stage"), first_of(names), folder)


def damaged(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Give the products of a record that are gone or are not what was written."""
    products = record.get("products")
    if not isinstance(products, Mapping) or not products:
        return [RECORD]
    try:
        return differing(folder, products)
    except OSError as error:
        return [str(error.filename)]


def product_hashes(record: Mapping[str, Any]) -> dict[str, str]:
    """Give the products that a record names, each with the SHA-256 of what was written.

    An empty text stands where the record says none.
    """
    products = record.get("products")
    if not isinstance(products, Mapping):
        return {}
    found = {n: s.get("sha256") if isinstance(s, Mapping) else None for n, s in products.items()}
    return {name: one if isinstance(one, str) else "" for name, one in found.items()}


def differing(folder: Path, stamps: Mapping[str, Any]) -> list[str]:
    """Give the files, of those that a record names with size and hash, that are gone or changed.

    Raises:
        OSError: one of them cannot be read.
    """
    whole = [name for name, stamp in stamps.items() if _has_size(folder / name, stamp)]
    found = _stamps(folder, whole)
    return [name for name, stamp in stamps.items() if found.get(name) != stamp]


def _stamps(
    folder: Path, names: Iterable[str], known: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    paths = {name: folder / name for name in names}
    digests = dict(known or {})
    found = known_hashes(str(path) for name, path in paths.items() if name not in digests)
    digests |= {name: found[str(path)] for name, path in paths.items() if name not in digests}
    return {
        name: {"size": path.stat().st_size, "sha256": digests[name]} for name, path in paths.items()
    }


def _has_size(path: Path, stamp: Any) -> bool:
    try:
        return path.is_file() and path.stat().st_size == stamp["size"]
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _files(folder: Path, names: Iterable[str]) -> list[str]:
    """Give the files behind names, relative to the folder; hidden ones are no products."""
    found: list[str] = []
    for name in names:
        path = folder / name
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [
            f.relative_to(folder).as_posix() for f in inside if f.is_file() and not _hidden(f)
        ]
    return sorted(set(found))


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _path_id(path: Path) -> str:
    if not path.is_dir():
        return known_hash(path)
    files = [f for f in sorted(path.rglob("*")) if f.is_file() and not _hidden(f)]
    found = known_hashes(str(f) for f in files)
    return hash_values({f.relative_to(path).as_posix(): found[str(f)] for f in files})


def _with_content(value: Any) -> Any:
    if isinstance(value, Path):
        return _path_id(value)
    if isinstance(value, Mapping):
        paths = {k: str(v) for k, v in value.items() if isinstance(v, Path) and v.is_file()}
        found = known_hashes(paths.values())
        known = {key: found[path] for key, path in paths.items()}
        return {str(key): known.get(key) or _with_content(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_with_content(item) for item in value]
    return value


def _as_plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; none where there is none, or another value."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _of_model(settings: BaseModel, known: Mapping[str, str]) -> dict[str, Any]:
    hints = typing.get_type_hints(type(settings), include_extras=True)
    found: dict[str, Any] = {}
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        if any(isinstance(mark, _Neutral) for mark in _marks(hints[name])):
            continue
        if not info.is_required() and value == info.get_default(call_default_factory=True):
            continue
        found[name] = _of_value(hints[name], value, known)
    return found


def _of_value(hint: Any, value: Any, known: Mapping[str, str]) -> Any:
    """Give a field's value as it counts; `hint` says where in it inputs are named."""
    if value is None:
        return None
    if isinstance(value, BaseModel):
        return _of_model(value, known)
    marks = _marks(hint)
    for mark in marks:
        if isinstance(mark, Input) and isinstance(value, str | Path):
            name = str(value)
            return known[name] if name in known else _identify(mark, name)
    inner = _inner(hint)
    if isinstance(value, Mapping):
        return {str(key): _of_any(inner, item, known) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_of_any(inner, item, known) for item in items]
    return value if isinstance(value, bool | int | float | str) else str(value)


def _of_any(hints: Collection[Any], value: Any, known: Mapping[str, str]) -> Any:
    for hint in hints:
        if any(isinstance(mark, Input) for mark in _marks(hint)) and isinstance(value, str | Path):
            return _of_value(hint, value, known)
    nested = [hint for hint in hints if _inner(hint)]
    return _of_value(nested[0] if nested else None, value, known)


def _marks(hint: Any) -> tuple[Any, ...]:
    """Give the marks of a hint, and of the members of a union."""
    if typing.get_origin(hint) is Annotated:
        first, *marks = typing.get_args(hint)
        return (*marks, *_marks(first))
    if _is_union(hint):
        return tuple(mark for one in typing.get_args(hint) for mark in _marks(one))
    return ()


def _inner(hint: Any) -> list[Any]:
    """Give the hints of the items of a container, through unions and marks."""
    if hint is None:
        return []
    if typing.get_origin(hint) is Annotated:
        return _inner(typing.get_args(hint)[0])
    if _is_union(hint):
        return [one for part in typing.get_args(hint) for one in _inner(part)]
    return [one for one in typing.get_args(hint) if one is not Ellipsis]


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Give what is inside of mappings, and of lists of mappings, by its path."""
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {prefix: value}
    result: dict[str, Any] = {}
    for key, item in value.items():
        result |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return result


def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    fields = {n: f for n, f in kind.model_fields.items() if not f.is_required()}
    values = {n: f.get_default(call_default_factory=True) for n, f in fields.items()}
    return {n: v.model_dump() if isinstance(v, BaseModel) else v for n, v in values.items()}


def _is_id(value: Any) -> bool:
    return re.fullmatch("[0-9a-f]{64}", str(value)) is not None


def _shown(value: Any, name: Any, default: Any) -> str:
    """Show a value: an identity by its name, or its beginning, and a default, which is left out."""
    if value is None and default is None:
        return "none" if name is None else f"{name} (not given, so chosen by the data)"
    if value is None:
        return f"{default} (the default)"
    if not _is_id(value):
        return str(value)
    return f"with content {str(value)[:8]}" if name is None else str(name)


_KINDS = {"family": "cpu family", "model": "model"}


def versions() -> dict[str, str]:
    """Give the versions of Python, of this package and of the libraries that shape results."""
    result = {"python": platform.python_version(), "speechft": __version__}
    for name in ("torch", "transformers", "lhotse", "numpy"):
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result


def processor() -> str:
    """Name the processor, and the GPU in use if any: the last bits of results depend on both."""
    gpu = _gpu()
    return f"{gpu}, {_cpu()}" if gpu else _cpu()


def _gpu() -> str:
    """Name the GPU that this process computes on; it is never asked for here."""
    devices = sys.modules.get("speechft.core.devices")  # else nothing has computed on one
    return "" if devices is None else str(devices.gpu_in_use())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    said = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines) if v}
    name = said.get("model name") or platform.processor() or platform.machine()
    kind = [f"{key} {said[long]}" for key, long in _KINDS.items() if said.get(long, "-").isdigit()]
    return f"{name} ({', '.join(kind)})" if kind else name
