"""DATA: one string that names any data, from a table to a known corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from lhotse import CutSet

from speechft.core.errors import DataError
from speechft.core.logging import get_logger
from speechft.core.nearest import nearest
from speechft.core.places import fault_of_name, home_expanded
from speechft.data import manifests, table
from speechft.data.commands import Runner, run_commands
from speechft.data.utterances import Loaded, problems_error

DEFAULT_PRESET = "demo"
_log = get_logger(__name__)


def load_data(
    spec: str, *, splits: Sequence[str] | None = None, seed: int = 0, allow_commands: bool = False
) -> dict[str, CutSet]:
    """Load data as split → cuts, each cut one utterance with one supervision.

    Args:
        spec: a table (`.csv`, `.tsv`, `.jsonl`), lhotse cuts (a file, or a folder with one file
            per split), `NAME:ROOT` or `NAME:ROOT@VARIANT` for a known corpus, `synthetic`,
            `synthetic:PRESET` or `synthetic:PRESET@LANGUAGE`.
        splits: the splits wanted; all if not given.
        seed: of the split of data that comes without one.
        allow_commands: run the commands that cuts name as the source of their audio (see
            `data.commands`); otherwise such cuts are refused.

    Raises:
        DataError: something is missing or broken; all bad rows are listed at once.
        SettingsError: unknown corpus or preset.
    """
    loaded = find_data(spec, seed, allow_commands=allow_commands)
    if loaded.problems:
        raise problems_error(loaded.problems, spec, loaded.source)
    for note in loaded.notes:
        _say_once(spec, note)
    found = {name: cuts for name, cuts in loaded.splits.items() if len(cuts)}
    if not found:
        raise DataError("the data holds no utterance", where=spec, hint=loaded.source)
    missing = [name for name in splits or () if name not in found]
    if missing:
        raise DataError(
            f"the data has no split {missing[0]!r}",
            where=spec,
            expected=", ".join(splits or ()),
            found=", ".join(found),
        )
    return found if splits is None else {name: found[name] for name in splits}


def is_synthetic(data: str | Mapping[str, str]) -> bool:
    """Tell whether DATA, or one of the DATA of several tasks, means speech that is made here.

    A file or folder that is there is none, whatever its name.
    """
    if isinstance(data, Mapping):
        return any(is_synthetic(one) for one in data.values())
    return data.partition(":")[0] == "synthetic" and not Path(data).exists()


def root_and_variant(rest: str) -> tuple[Path, str]:
    """Read `ROOT` or `ROOT@VARIANT`; a folder with an @ in its own path is taken as it is."""
    before, sign, variant = rest.rpartition("@")
    if not sign or "/" in variant or home_expanded(rest).exists():
        return home_expanded(rest), ""
    return home_expanded(before), variant


def find_data(spec: str, seed: int = 0, *, allow_commands: bool = False) -> Loaded:
    """Load what can be loaded, with the list of what cannot. Arguments as `load_data`."""
    loaded = _find(spec, seed, run_commands if allow_commands else None)
    faults = {name: fault_of_name(name) for name in loaded.splits}
    loaded.problems += [f"the split {n!r} cannot be called so: {f}" for n, f in faults.items() if f]
    return loaded


def _find(spec: str, seed: int, run: Runner | None) -> Loaded:
    name, sign, rest = spec.partition(":")
    if is_synthetic(spec):
        from speechft.data.synthetic.corpus import splits_of

        return Loaded(splits_of(rest if sign else DEFAULT_PRESET))
    path = home_expanded(spec)
    if path.is_dir():
        return manifests.read_folder(path, run)
    if path.is_file():
        return _file(path, seed, run)
    if sign and name and not path.exists():
        return _corpus(name, rest)
    raise DataError(
        "this is neither a file nor a folder" if path.exists() else "no such data",
        where=spec,
        expected="a table, lhotse cuts, NAME:ROOT for a corpus, or synthetic",
        hint=_hint(path),
    )


def _file(path: Path, seed: int, run: Runner | None) -> Loaded:
    if table.holds_cuts(path):
        return manifests.read_manifest(path, seed, run)
    if path.suffix in table.SUFFIXES:
        return table.read_table(path, seed)
    raise DataError(
        "this kind of file is not known as data",
        where=path,
        expected=", ".join([*table.SUFFIXES, *manifests.SUFFIXES]),
        hint="for audio alone, write a table with one column named audio",
    )


def _hint(path: Path) -> str:
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else "check the path"


def _corpus(name: str, rest: str) -> Loaded:
    from speechft.data.corpora import corpora

    corpus = corpora()[name]
    root, variant = root_and_variant(rest)
    return corpus.load(root, variant)


@lru_cache(maxsize=1024)
def _say_once(spec: str, note: str) -> None:
    """Say what is worth knowing of data; a run loads the same data many times."""
    _log.info("%s: %s", spec, note)
