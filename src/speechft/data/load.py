"""DATA: one string that names any data, from a table to a known corpus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from speechft.core.errors import DataError, SettingsError
from speechft.core.limits import LONGEST_SECONDS
from speechft.core.logging import say_once
from speechft.core.nearest_names import did_you_mean
from speechft.core.paths import fault_of_name, first_of, home_expanded
from speechft.data import manifests, table_files
from speechft.data.corpus_tree import describe
from speechft.data.cuts import heard_seconds
from speechft.data.data_names import (
    DEFAULT_PRESET,
    is_synthetic,
    named_kind,
    root_and_variant,
    there,
)
from speechft.data.decoding import SUFFIXES as RECORDINGS
from speechft.data.dialects import dialects, read_dialect, read_guessed
from speechft.data.external_programs import Runner, run_commands
from speechft.data.split_names import split_of
from speechft.data.utterances import Loaded, problems_error

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut


def load_data(spec: str, *, seed: int = 0, allow_commands: bool = False) -> dict[str, CutSet]:
    """Load data as split → cuts, each cut one utterance with one supervision.

    Args:
        spec: a table (`.csv`, `.tsv`, `.jsonl`), lhotse cuts (a file, or a folder with one file
            per split), `NAME:ROOT` or `NAME:ROOT@VARIANT` for a known corpus, `synthetic`,
            `synthetic:PRESET` or `synthetic:PRESET@LANGUAGE`, `DIALECT:PATH` for a kind of table.
        seed: of the split of data that comes without one.
        allow_commands: run the commands that cuts name as the source of their audio (see
            `data.external_programs`); otherwise such cuts are refused.

    Raises:
        DataError: something is missing or broken; all bad rows are listed at once.
        SettingsError: unknown corpus or preset.
    """
    loaded = find_data(spec, seed, allow_commands=allow_commands)
    if loaded.problems:
        raise problems_error(loaded.problems, spec, loaded.source)
    for note in loaded.notes:
        say_once(f"{spec}: {note}")
    found = {name: cuts for name, cuts in loaded.splits.items() if len(cuts)}
    if not found:
        raise DataError("the data holds no utterance", where=spec, hint=loaded.source)
    return found


def load_split(spec: str, split: str | None, usual: Sequence[str]) -> list[Cut]:
    """Give the cuts of one split.

    Args:
        spec: DATA.
        split: its name; if not given, the first of `usual` that is there, else the first of all.
        usual: names, best first.

    Raises:
        DataError: the data cannot be read, or has no such split.
    """
    data = load_data(spec)
    wanted = split or next((name for name in usual if name in data), next(iter(data)))
    return list(data[split_of(data, wanted, spec)])


def corpus_name(name: str, rest: str, sign: str) -> str | None:
    """Give a corpus' name with its variant behind `sign`; None for a path or a kind of table."""
    if not name or name in dialects():
        return None
    variant = root_and_variant(rest)[1]
    return f"{name}{sign}{variant}" if variant else name


def refuse_long(
    spec: str, cuts: Iterable[Cut], longest: float = LONGEST_SECONDS, *, fixed: bool = False
) -> None:
    """Refuse utterances that are too long to be encoded whole.

    Args:
        spec: DATA that they are of.
        cuts: utterances as they will be heard.
        longest: seconds; the default becomes those of a known corpus that has longer ones.
        fixed: no setting raises that.

    Raises:
        DataError: some are longer; the first ones are named.
    """
    if longest == LONGEST_SECONDS and (name := named_kind(spec)[0]):
        longest = _longest_of(name)
    long = [f"{cut.id} ({s:.0f} s)" for cut in cuts if (s := heard_seconds(cut)) > longest]
    if long:
        count = "an utterance is" if len(long) == 1 else f"{len(long)} utterances are"
        raise DataError(
            f"{count} longer than one pass over it should be",
            where=spec,
            expected=f"at most {longest:g} s",
            found=first_of(long),
            hint="cut it up (`start` and `end` of a table)"
            + ("" if fixed else ", or raise max_seconds (--max-seconds)")
            + ": memory grows with the square of the duration",
        )


def _longest_of(name: str) -> float:
    from speechft.data.corpora import corpora

    return corpora()[name].longest if name in corpora() else LONGEST_SECONDS


def find_data(spec: str, seed: int = 0, *, allow_commands: bool = False) -> Loaded:
    """Load what can be loaded, with the list of what cannot. Arguments as `load_data`."""
    loaded = _find(spec, seed, run_commands if allow_commands else None)
    faults = {name: fault_of_name(name) for name in loaded.splits}
    loaded.problems += [f"the split {n!r} cannot be called so: {f}" for n, f in faults.items() if f]
    return loaded


def _find(spec: str, seed: int, run: Runner | None) -> Loaded:
    name, rest = named_kind(spec)
    if not rest.strip():  # as a path that would be the working directory
        raise DataError("no data is named", found=repr(spec), hint="name a table, cuts or a folder")
    if is_synthetic(spec):
        from speechft.data.synthetic.corpus import splits_of

        return Loaded(splits_of(rest if name else DEFAULT_PRESET))
    if name in dialects():
        return read_dialect(name, there(home_expanded(rest), spec), seed)
    if name:
        return _corpus(name, rest)
    path = there(home_expanded(spec), spec)
    loaded = None
    if path.is_dir():
        loaded = manifests.read_folder(path, seed, run)
    elif table_files.holds_cuts(path):
        loaded = manifests.read_manifest(path, seed, run)
    loaded = loaded or read_guessed(path, seed)
    if loaded is None:
        raise _unknown(path)
    return loaded


def _unknown(path: Path) -> DataError:
    parquet = path.suffix == ".parquet" or (path.is_dir() and any(path.rglob("*.parquet")))
    if parquet or path.suffix == ".arrow":
        return DataError(
            "Parquet and Arrow files are read as a data set alone",
            where=path,
            expected="a folder as save_to_disk of Hugging Face `datasets` writes it",
            hint='load_dataset("parquet", data_files=…).save_to_disk(FOLDER) makes one',
        )
    if path.is_dir():
        return DataError(
            "the folder holds no cuts and no table that is known",
            where=path,
            expected="a file per split, such as train.jsonl.gz or train.csv",
            found=describe(path).removeprefix("; "),
            hint=_way_in(path),
        )
    lists = _lists_of_lhotse([path])
    archive = path.suffix in _ARCHIVES and not lists
    hint = "for audio alone, write a table with one column named audio"
    if path.suffix == ".json":
        hint = "write it as JSON lines: an object per line, in a file .jsonl"
    return DataError(
        "archives are not read" if archive else "this kind of file is not known as data",
        where=path,
        expected=", ".join(dict.fromkeys([*table_files.SUFFIXES, *manifests.SUFFIXES])),
        hint=lists or (_UNPACK if archive else hint),
    )


_LOOKED_AT: Final = 2000  # names in a folder, for audio
_ARCHIVES: Final = (".tar", ".tgz", ".zip", ".gz", ".xz", ".bz2", ".zst", ".7z")
_UNPACK: Final = "unpack it; for a WebDataset's shards write a table of the audio that they hold"


def _lists_of_lhotse(paths: Iterable[Path]) -> str | None:
    """Say how lhotse's other lists become cuts, where there are some."""
    if not any(table_files.LISTS.fullmatch(path.name) for path in paths):
        return None
    return (
        "recordings and supervisions of lhotse become cuts with CutSet.from_manifests(recordings=…,"
        " supervisions=…), which to_file('cuts.jsonl.gz') keeps"
    )


def _way_in(folder: Path) -> str:
    """Say how a folder could be read that is nothing yet."""
    from speechft.data.corpora import corpora

    for name, corpus in corpora().items():
        with suppress(DataError, OSError):
            corpus.find(folder, "")
            return f"did you mean {name}:{folder}?"
    if lists := _lists_of_lhotse(folder.iterdir()):
        return lists
    if any(path.suffix in _ARCHIVES for path in folder.iterdir()):
        return _UNPACK.replace("it;", "the archives;")
    kinds = f"NAME:FOLDER ({', '.join(dialects())})"
    if any(path.suffix.lower() in RECORDINGS for path in islice(folder.rglob("*"), _LOOKED_AT)):
        return (
            f"audiofolder:{folder} takes the audio, and the names of its folders as labels; for "
            f"text write a table, or another kind of table as {kinds}"
        )
    return f"for a known corpus or kind of table write {kinds}"


def _corpus(name: str, rest: str) -> Loaded:
    from speechft.data.corpora import corpora

    if name not in corpora():
        hint = did_you_mean(name, [*corpora(), *dialects(), "synthetic"])
        hint = "nothing is downloaded; get the file first" if rest.startswith("//") else hint
        raise SettingsError(f"unknown corpus or kind of table {name!r}", where=rest, hint=hint)
    root, variant = root_and_variant(rest)
    return corpora()[name].load(root, variant)
