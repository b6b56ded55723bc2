"""VoxCeleb1: interviews of 1251 celebrities, for speaker identification and verification.

https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from speechft.core.errors import DataError
from speechft.data.corpora import Corpus, register
from speechft.data.corpus_tree import read_lines, tree
from speechft.data.utterances import Loaded, Utterance, load_splits, problems_error

LISTS = ("iden_split.txt", "veri_test_class.txt")
TRIALS = "voxceleb1_test_v2.txt"
LONGEST = 145.5  # seconds; the corpus' paper gives 145.0
COUNTS = {"train": 138361, "dev": 6904, "test": 8251, "asv_train": 148642, "asv_test": 4715}
_SPLITS = {"1": "train", "2": "dev", "3": "test"}
_LIST_SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/iden_split.txt"
_TRIALS_SOURCE = "https://www.openslr.org/resources/49/voxceleb1_test_v2.txt"
_HINT = (
    "unpack the corpus (https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html) as "
    "dev/wav/ID/VIDEO/*.wav and test/wav/ID/VIDEO/*.wav, and put iden_split.txt "
    f"({_LIST_SOURCE}) and {TRIALS} ({_TRIALS_SOURCE}) beside dev"
)


def _listing(base: Path) -> Path | None:
    return next((base / name for name in LISTS if (base / name).is_file()), None)


def _lack(base: Path, task: str) -> list[str]:
    """Say which list is missing that says what a task's splits are."""
    if task == "asv":
        absent = f"no verification test: there is no {TRIALS}, get it from {_TRIALS_SOURCE}"
        return [] if (base / TRIALS).is_file() else [absent]
    absent = f"no identification: there is no {LISTS[0]}, get it from {_LIST_SOURCE}"
    return [] if _listing(base) else [absent]


@register(
    "voxceleb1",
    partial(
        Corpus,
        find=tree(
            ("VoxCeleb1",), ("dev/wav", "test/wav"), ("dev/wav/*/*/*.wav", "test/wav/*/*/*.wav")
        ),
        hours=352,
        source=_HINT,
        counts=COUNTS,
        longest=LONGEST,
        lack=_lack,
    ),
)
def voxceleb1(base: Path, _variant: str) -> Loaded:
    """Read `ROOT/{dev,test}/wav/ID/VIDEO/*.wav`, split by the lists beside them.

    `train`, `dev` and `test` are for identification (`iden_split.txt`): all speakers are in all of
    them. `asv_train` is every file of dev/wav, `asv_test` every file of the trial list
    (`voxceleb1_test_v2.txt`): `custom["trials"]` of a trial's first utterance is a list of
    [id of the second, 1 for the same speaker or 0].

    Raises:
        DataError: a folder or both lists are missing, or a line cannot be read.
    """
    known: dict[str, Utterance] = {}
    parts: dict[str, list[Utterance]] = {}
    notes = [*_lack(base, "sid"), *_lack(base, "asv")]
    listing = _listing(base)
    if listing is not None:
        parts |= _identification(base, listing, known)
        notes += _new_speakers(parts)
    parts["asv_train"] = [
        _utterance(base, "/".join(path.parts[-3:]), known)
        for path in sorted((base / "dev" / "wav").glob("*/*/[!.]*.wav"))
    ]
    if (base / TRIALS).is_file():
        parts["asv_test"] = list(_verification(base, base / TRIALS))
    if listing is None and "asv_test" not in parts:
        expected = f"{' or '.join(LISTS)}; {TRIALS}"
        raise DataError("no list of splits", where=base, expected=expected)
    return load_splits(parts, notes=notes)


def _identification(
    base: Path, listing: Path, known: dict[str, Utterance]
) -> dict[str, list[Utterance]]:
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for number, path in _read_list(listing, _SPLITS, "1|2|3 ID/VIDEO/FILE.wav"):
        parts[_SPLITS[number]].append(_utterance(base, path, known))
    return parts


def _new_speakers(parts: dict[str, list[Utterance]]) -> list[str]:
    """Name speakers of dev and test whom identification cannot learn."""
    known = {utterance.speaker for utterance in parts["train"]}
    notes = []
    for name in ("dev", "test"):
        new = sorted({str(u.speaker) for u in parts[name] if u.speaker not in known})
        if new:
            shown = ", ".join(new[:5])
            notes.append(f"{name}: {len(new)} speakers are not in train: {shown}")
    return notes


def _verification(base: Path, listing: Path) -> Iterator[Utterance]:
    trials: dict[str, list[list[str | int]]] = defaultdict(list)
    expected = "0|1 ID/VIDEO/FILE.wav ID/VIDEO/FILE.wav"
    for same, first, second in _read_list(listing, ("0", "1"), expected):
        trials[first].append([_name(second), int(same)])
        trials[second] += []
    for path, others in sorted(trials.items()):
        utterance = _utterance(base, path, {})
        yield replace(utterance, custom={"trials": others}) if others else utterance


def _read_list(listing: Path, first: Collection[str], expected: str) -> list[list[str]]:
    """Give the fields of every line: one of `first`, then paths; as many as `expected` has.

    Raises:
        DataError: names all lines that are otherwise.
    """
    lines, problems = [], []
    for number, line in read_lines(listing):
        fields = line.split()
        right = len(fields) == len(expected.split()) and fields[0] in first
        if right and all(path.count("/") == 2 for path in fields[1:]):
            lines.append(fields)
        else:
            problems.append(f"line {number}: expected '{expected}', found {line!r}")
    if problems:
        raise problems_error(problems, listing, what="the list has")
    return lines


def _utterance(base: Path, path: str, known: dict[str, Utterance]) -> Utterance:
    """Give the utterance of a file; the same one for each list that names it."""
    if path not in known:
        speaker = path.partition("/")[0]
        audio = base / "dev" / "wav" / path
        if not audio.exists() and (base / "test" / "wav" / speaker).is_dir():
            audio = base / "test" / "wav" / path
        known[path] = Utterance(_name(path), audio, path, speaker=speaker)
    return known[path]


def _name(path: str) -> str:
    return path.removesuffix(".wav").replace("/", "-")
